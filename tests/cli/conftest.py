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
def model_file(tmp_path_factory, small_model):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    small_model().save(path)
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
