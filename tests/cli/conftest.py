import keras
import numpy as np
import pytest

from sft_keras.cli import main


@pytest.fixture
def cli(capfd):
    """Runs a command line in this process; gives its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main.run(["sft-keras", *map(str, arguments)])
        out, err = capfd.readouterr()
        return exit_.value.code, out, err

    return run


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
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    _small_model().save(path)
    return path


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """Dark and bright images, labelled so."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    x = (rng.random((48, 6, 6, 1)) + 2 * y[:, None, None, None]).astype("float32")
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x_train=x[:32], y_train=y[:32], x_val=x[32:], y_val=y[32:])
    return path
