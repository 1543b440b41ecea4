"""Goes the whole way with one seed, in a process of its own; prints what it made as JSON.

python tests/determinism_process.py keras
python tests/determinism_process.py tf_keras
"""

import hashlib
import importlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

import sft_keras


def images(count: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, which differ in which row is bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    x[np.arange(count), 2 * y + 1] += 2
    return x, y


def residual_net(library):
    """A small network with a branch, BatchNormalization, a depthwise layer and dropout."""
    layers = library.layers
    image = library.Input((8, 8, 1))
    x = layers.Conv2D(12, 3, padding="same", name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    branch = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    branch = layers.Conv2D(12, 1, name="pointwise")(branch)
    x = layers.ReLU()(layers.Add()([x, branch]))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    model = library.Model(image, layers.Dense(3, activation="softmax", name="classes")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def digest(*arrays) -> str:
    """One number for any arrays, to the bit."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def main(name: str) -> dict:
    """Digests of the mask, the weights and the files."""
    library = importlib.import_module(name)
    library.utils.set_random_seed(7)
    tf.config.experimental.enable_op_determinism()
    x, y = images()
    model = residual_net(library)
    prune = sft_keras.SoftFilterPrune(0.5, criterion="random", seed=7)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[prune])
    small = sft_keras.shrink(model)
    trained = sft_keras.quantize(small)
    trained.fit(x, y, verbose=0)
    return {
        "mask": np.flatnonzero(prune.mask).tolist(),
        "pruned": digest(*model.get_weights()),
        "shrunk": digest(*small.get_weights()),
        "trained quantized": digest(*trained.get_weights()),
        "quantized while training": digest(sft_keras.convert(trained).content),
        "quantized after training": digest(sft_keras.convert(small, x).content),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
