"""Does one λ fit networks of any size: the penalty's share of the gradient, 5 k to 25 M weights.

    python benchmarks/penalty.py --data=../shared/data/cifar10.tar.gz

For each network, after some steps on CIFAR-10: the root mean square over filters of the
gradient of L_ori and of λ/√F·Σ|γ_i| at the default λ, and their ratio; beside it the ratio that
the plain sum λ·Σ|γ_i|, with λ chosen to agree on the second network, would have.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import inspect

import cifar
import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import layers

import sft_keras

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as .tar.gz of JPEG files.", required=True)
flags.DEFINE_integer("steps", 30, "Training steps before measuring.")
SIZE = (32, 32, 3)


def stack(*widths: int) -> keras.Model:
    """Convolutions with BatchNormalization and pooling."""
    x = image = keras.Input(SIZE)
    for filters in widths:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def resnet50() -> keras.Model:
    """The published network, for small images."""
    return keras.applications.ResNet50(
        weights=None, input_shape=SIZE, classes=10, classifier_activation=None
    )


NETWORKS = {
    "5 k": lambda: stack(8, 12, 16, 16),
    "300 k": lambda: stack(32, 64, 112, 176),
    "25 M": resnet50,
}


def gradients(model: keras.Model, images, labels) -> tuple[float, int]:
    """Root mean square of L_ori's gradient per filter, on γ; and the number of filters."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    gammas = [x.gamma for x in model.layers if isinstance(x, layers.BatchNormalization)]
    with tf.GradientTape() as tape:
        value = loss(labels, model(images, training=True))
    per_layer = tape.gradient(value, [gamma.value for gamma in gammas])
    squares = np.concatenate([np.square(g.numpy()) for g in per_layer])
    return float(np.sqrt(squares.mean())), len(squares)


def measure(build, images, labels) -> tuple[int, int, float]:
    """Weights, filters and L_ori's gradient per filter of a network that trained for a while."""
    keras.utils.set_random_seed(0)
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(32)
    model.fit(batches, steps_per_epoch=FLAGS.steps, verbose=0)
    gradient, filters = gradients(model, images[:128], labels[:128])
    return model.count_params(), filters, gradient


def main(argv):
    """Prints one row a network."""
    del argv
    (images, labels), _ = cifar.load(FLAGS.data, 1024, 1)
    images = images.repeat(2, axis=1).repeat(2, axis=2)  # to the size that ResNet50 takes
    strength = inspect.signature(sft_keras.SoftFilterPrune).parameters["l1"].default
    rows = [(name, *measure(build, images, labels)) for name, build in NETWORKS.items()]
    plain = strength / np.sqrt(rows[1][2])
    print(
        f"{'net':<6} {'weights':>11} {'filters':>8} {'L_ori':>9} {'ratio λ/√F':>11} {'ratio λ':>9}"
    )
    for name, weights, filters, gradient in rows:
        ratio = strength / np.sqrt(filters) / gradient
        print(
            f"{name:<6} {weights:>11,} {filters:>8,} {gradient:>9.1e} {ratio:>11.2f} "
            f"{plain / gradient:>9.2f}"
        )


if __name__ == "__main__":
    app.run(main)
