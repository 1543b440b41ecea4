import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from sft_keras.quantization import int8, load_model

CHECK = """
import os
{before}
import sft_keras.quantization.tfmot
import tensorflow as tf
print(os.environ.get("TF_USE_LEGACY_KERAS"), tf.keras.Model.__module__.partition(".")[0])
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [("", "None keras"), ('os.environ["TF_USE_LEGACY_KERAS"] = "1"', "1 tf_keras")],
)
def test_importing_tfmot_leaves_the_process_as_it_was(before, expected):
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    script = CHECK.format(before=before)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected.split()


def test_a_saved_model_comes_back_and_trains_on(tmp_path, randomize):
    x = tf_keras.Input((8, 8, 2))
    y = layers.ReLU()(layers.Conv2D(3, 3)(x))
    y = layers.Dense(2)(layers.Flatten()(layers.DepthwiseConv2D(3)(y)))
    qat = int8.apply(randomize(tf_keras.Model(x, y)))
    qat.compile("adam", "mse")
    data, targets = np.random.default_rng(0).normal(size=(16, 8, 8, 2)), np.ones((16, 2))
    qat.fit(data, targets, verbose=0)
    qat.save(tmp_path / "qat.keras")
    loaded = load_model(tmp_path / "qat.keras")
    assert np.array_equal(qat.predict(data, verbose=0), loaded.predict(data, verbose=0))
    losses = loaded.fit(data, targets, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_training_moves_kernels_and_biases_but_not_frozen_layers(randomize):
    x = tf_keras.Input((4,))
    y = layers.Dense(3, trainable=False, name="frozen")(x)
    model = randomize(tf_keras.Model(x, layers.Dense(2, name="free")(y)))
    qat = int8.apply(model)
    names = {w.name.partition(":")[0] for w in qat.get_layer("free").trainable_weights}
    assert names == {"kernel", "bias"}
    kept = [w for w in qat.get_layer("frozen").weights if w.name[:4] in ("kern", "bias")]
    before = [w.numpy() for w in kept]
    qat.compile("sgd", "mse")
    qat.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    assert len(kept) == 2
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, kept, strict=True))
