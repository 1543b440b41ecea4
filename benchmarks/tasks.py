"""Data sets with their networks, each trained in a minute or two."""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parent.parent / "examples"))

import cifar
import keras
import networks
import numpy as np
import spoken_digits
import tensorflow as tf
from absl import flags

from sft_keras import datasets
from sft_keras.cli.network import default_network

# --data, --epochs, --qat_epochs and --pruning_ratio are those of the example.
FLAGS = flags.FLAGS
flags.DEFINE_string("cifar", None, "CIFAR-10 as .tar.gz of JPEG files.")

RATE = 3e-3
"""The learning rate that training begins with; a tenth of it after shrinking."""


class Task(NamedTuple):
    """A compiled network, and what it is trained and judged on."""

    model: keras.Model
    train: object
    val: tuple
    samples: object
    """What the ranges of post-training quantization are measured on."""


def digits(seed: int) -> Task:
    """Scikit-learn's digits and the network of the command line."""
    data = datasets.load("digits", seed=seed)
    model = _compiled(default_network(data.input_shape, data.num_classes))
    val = tuple(np.concatenate(part) for part in zip(*data.val.as_numpy_iterator(), strict=True))
    return Task(model, data.train, val, data.train)


def spoken(seed: int) -> Task:
    """Spoken digits, the network and the time shifts of the example."""
    del seed
    x, y, x_test, y_test, words = spoken_digits.load(Path(FLAGS.data))
    train = tf.data.Dataset.from_tensor_slices((x, y)).cache().shuffle(len(x))
    train = train.map(spoken_digits.shifted).batch(64).prefetch(1)
    model = _compiled(spoken_digits.ds_cnn(x.shape[1:], len(words)))
    return Task(model, train, (x_test, y_test), train)


def cifar10(seed: int) -> Task:
    """8,000 images of CIFAR-10 at 16x16, 4,000 held out, and a small ResNet."""
    del seed
    train, val = cifar.load(FLAGS.cifar, 8000, 4000)
    base = networks.resnet()
    probabilities = keras.layers.Softmax(name="classes")(base.output)
    return Task(_compiled(keras.Model(base.input, probabilities)), train, val, train)


def _compiled(model: keras.Model) -> keras.Model:
    spoken_digits.compile_model(model, RATE)
    return model


ALL = {"digits": digits, "spoken": spoken, "cifar10": cifar10}
