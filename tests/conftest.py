"""Fixtures that all tests share: both Kerases, random weights, random masks."""

import contextlib
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema

from sft_keras import LiteModel, flavors
from sft_keras.tflite.packing import packed

FLAVORS = {"keras": keras, "tf_keras": tf_keras}


def pytest_collection_finish():
    """Keeps `clear_session`, which collects garbage, from walking through the libraries again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=FLAVORS)
def flavor(request):
    """The module `keras` or `tf_keras`, seeded and with fresh layer names."""
    library = FLAVORS[request.param]
    library.backend.clear_session()
    gc.freeze()  # what outlived that collection would be walked through in the next again
    library.utils.set_random_seed(0)
    return library


@pytest.fixture(scope="session")
def randomize():
    """A function that fills all weights of a model with random values, none of them zero."""

    def fill(model, seed=0):
        rng = np.random.default_rng(seed)
        for variable in flavors.weights(model):
            old = flavors.to_numpy(variable)
            if np.issubdtype(old.dtype, np.integer):
                continue
            fan_in = np.prod(old.shape[:-1]) if old.ndim > 1 else 1
            new = rng.standard_normal(old.shape) / np.sqrt(fan_in)
            if "variance" in variable.name:
                new = rng.uniform(0.5, 2.0, old.shape)
            variable.assign(new.astype(old.dtype))
        for layer in model.layers:
            if type(layer).__name__ == "Normalization":
                layer.finalize_state()  # it computes with a copy of its weights
        return model

    return fill


@pytest.fixture(scope="session")
def random_mask():
    """A function that masks a random part of the prunable classes, at least one where it can."""

    def choose(groups, seed=0, ratio=0.5):
        rng = np.random.default_rng(seed)
        order = rng.permutation(np.flatnonzero(groups.prunable))
        mask = np.zeros(groups.count, bool)
        for number in order[: max(1, round(ratio * len(order)))]:
            mask[number] = True
            if any(mask[classes].all() for _, classes in groups.never_empty):
                mask[number] = False
        return mask

    return choose


@pytest.fixture(scope="session")
def forgetful_layer():
    """Makes a layer of a Keras whose config leaves out what it multiplies by."""

    def make(library, factor=1.0):
        class Scaled(library.layers.Layer):
            factor = 1.0

            def call(self, x):
                return x * self.factor

            def get_config(self):
                return {"name": self.name}

        layer = Scaled(name="scaled")
        layer.factor = factor
        return layer

    return make


@pytest.fixture(scope="session")
def small_model():
    """Makes a compiled classifier of 6x6 images with 8 filters to prune."""
    return _small_model


def _small_model(compiled=True, classes=2):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(8, 3, use_bias=False, name="conv"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, activation="softmax", name="classes"),
        ]
    )
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="session")
def full_disk():
    """Makes a block in which files take a few bytes and no more."""
    return _full_disk


@contextlib.contextmanager
def _full_disk(size=10):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def renamed():
    """Makes a copy of a `.tflite` file whose tensors all have one name, inputs and outputs too."""
    return _renamed


def _renamed(lite, name):
    model = schema.ModelT.InitFromPackedBuf(lite.content)
    (signature,) = model.signatureDefs
    for named in (*model.subgraphs[0].tensors, *signature.inputs, *signature.outputs):
        named.name = name
    return LiteModel(packed(model))
