import json
import zipfile

import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import flavors
from sft_keras.cli import files
from sft_keras.errors import FileError

X = np.linspace(-1, 1, 72, dtype="float32").reshape(2, 6, 6, 1)


def test_loads_a_keras_3_model(model_file, small_model):
    model = files.load_model(model_file)
    assert isinstance(model, keras.Model)
    assert np.array_equal(model(X), small_model()(X))


def test_loads_a_tf_keras_model(tmp_path):
    model = tf_keras.Sequential([tf_keras.layers.Flatten(), tf_keras.layers.Dense(2)])
    expected = model(X)
    model.save(tmp_path / "model.keras")
    loaded = files.load_model(tmp_path / "model.keras")
    assert flavors.is_tf_keras(loaded)
    assert np.array_equal(loaded(X), expected)


def test_loads_a_quantization_aware_model(tmp_path, small_model):
    qat = sft_keras.quantize(small_model())
    qat.fit(X, np.array([0, 1]), verbose=0)
    qat.save(tmp_path / "qat.keras")
    assert np.array_equal(files.load_model(tmp_path / "qat.keras")(X), qat(X))


def test_loads_a_model_with_the_package_s_own_objects(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[0].kernel_regularizer = sft_keras.regularizers.FilterL1(0.1)
    model.save(tmp_path / "model.keras")
    loaded = files.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[0].kernel_regularizer, sft_keras.regularizers.FilterL1)


def test_a_model_compiled_on_another_backend_needs_not_that_backend(tmp_path, model_file):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(model_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                optimizer = config["compile_config"]["optimizer"]
                optimizer["module"] = "keras.src.backend.absent.optimizers.absent_adam"
                optimizer["config"]["learning_rate"] = 0.25
                content = json.dumps(config).encode()
            new.writestr(name, content)
    model = files.load_model(path)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == 0.25
    assert model.loss == "sparse_categorical_crossentropy"


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"no zip", truncated, flipped])
def test_damaged_file_is_refused(tmp_path, model_file, damage):
    path = tmp_path / "model.keras"
    path.write_bytes(damage(model_file.read_bytes()))
    with pytest.raises(FileError, match=r"model\.keras' (is not a whole|cannot be loaded)"):
        files.load_model(path)


def test_other_zip_file_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "[]")
    with pytest.raises(FileError, match=r"not a whole \.keras file"):
        files.load_model(path)


@pytest.mark.parametrize("path", ["absent.keras", ".", "a/b.keras"])
def test_missing_file_is_refused(path):
    with pytest.raises(FileError, match="There is no file"):
        files.load_model(path)


def test_file_that_could_run_code_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(FileError, match="cannot be loaded"):
        files.load_model(tmp_path / "model.keras")


def test_unknown_custom_layer_is_refused(tmp_path):
    class Custom(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((4,)), Custom()]).save(tmp_path / "model.keras")
    with pytest.raises(FileError, match="Custom"):
        files.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("out.h5", "must end in .keras"),
        ("out", "must end in .keras"),
        ("there.keras", "exists; choose another name or pass --overwrite"),
        ("folder.keras", "is a folder"),
        ("no/such/out.keras", "There is no folder"),
        ("there.keras/out.keras", "There is no folder"),
    ],
)
def test_output_that_could_not_be_written_is_refused(tmp_path, path, reason):
    (tmp_path / "there.keras").write_text("before")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(FileError, match=reason):
        files.require_writable(tmp_path / path, ".keras", overwrite=False)


def test_overwrite_lets_an_existing_file_be_replaced(tmp_path, small_model):
    path = tmp_path / "out.keras"
    path.write_text("before")
    files.require_writable(path, ".keras", overwrite=True)
    files.save_model(small_model(), path)
    assert zipfile.is_zipfile(path)
    assert [p.name for p in tmp_path.iterdir()] == ["out.keras"]


def test_failed_save_leaves_what_was_there(tmp_path):
    class FullDisk:
        def save(self, path):
            path.write_text("half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "out.keras"
    path.write_text("before")
    with pytest.raises(FileError, match="No space left on device"):
        files.save_model(FullDisk(), path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.keras"]


def test_folder_that_nobody_can_write_to_is_refused_before_any_work():
    with pytest.raises(FileError, match="'/proc' cannot be written"):
        files.require_writable("/proc/out.keras", ".keras", overwrite=False)
