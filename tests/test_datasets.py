import subprocess
import sys

import keras
import numpy as np
import pytest

from sft_keras import datasets
from sft_keras.errors import DataError


def values(batches):
    """All samples and labels of a dataset as two arrays."""
    xs, ys = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def write_images(folder, counts, size=(10, 12)):
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((*size, 3), 255 * (label == "white"), "uint8")
            keras.utils.save_img(folder / label / f"{i}.png", pixels, scale=False)


@pytest.fixture
def npz(tmp_path):
    """Writes a good .npz file with some arrays replaced; `None` leaves one out."""

    def write(**replaced):
        arrays = {
            "x_train": np.linspace(0, 1, 60, dtype="float32").reshape(12, 5),
            "y_train": np.arange(12) % 3,
            "x_val": np.linspace(0, 1, 30, dtype="float32").reshape(6, 5),
            "y_val": np.arange(6) % 3,
        } | replaced
        path = tmp_path / "data.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return str(path)

    return write


def test_digits_are_pixels_in_unit_range_with_a_stratified_held_out_quarter():
    digits = datasets.load("digits")
    (x_train, y_train), (x_val, y_val) = values(digits.train), values(digits.val)
    assert digits.input_shape == x_train.shape[1:] == (8, 8, 1)
    assert digits.num_classes == 10
    assert digits.labels == list("0123456789")
    assert len(x_train) + len(x_val) == 1797
    assert len(x_val) == 450
    assert (x_train.min(), x_train.max()) == (0, 1)
    assert x_train.dtype == np.float32
    assert np.bincount(y_val).min() >= 43
    assert np.bincount(y_train).min() >= 129


def test_the_seed_decides_split_and_order():
    first, again, other = (values(datasets.load("digits", seed=s).train)[0] for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_data_is_shuffled_anew_each_epoch():
    train = datasets.load("digits").train
    assert not np.array_equal(values(train)[1], values(train)[1])


def test_image_folder_resizes_scales_and_labels_by_sorted_folder_name(tmp_path):
    write_images(tmp_path, {"white": 8, "black": 8})
    data = datasets.load(str(tmp_path), image_size=(6, 7), batch_size=3)
    x, y = (
        np.concatenate(parts) for parts in zip(values(data.train), values(data.val), strict=True)
    )
    assert data.labels == ["black", "white"]
    assert data.input_shape == (6, 7, 3)
    assert len(x) == 16
    assert np.array_equal(x[:, 0, 0, 0], y)


def test_image_folder_in_grey(tmp_path):
    write_images(tmp_path, {"white": 4, "black": 4})
    data = datasets.load(str(tmp_path), color_mode="grayscale")
    assert data.input_shape == values(data.val)[0].shape[1:] == (96, 96, 1)


def test_image_folder_fits_a_model(tmp_path):
    write_images(tmp_path, {"white": 8, "black": 8})
    data = datasets.load(str(tmp_path), image_size=(4, 4))
    model = keras.Sequential(
        [keras.Input(data.input_shape), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(data.train, validation_data=data.val, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({}, "has 0 subfolders"),
        ({"white": 4}, "has 1 subfolders"),
        ({"white": 0, "black": 0}, "too few images"),
        ({"white": 1, "black": 0}, "too few images"),
    ],
)
def test_image_folder_with_too_little_is_refused(tmp_path, counts, reason):
    write_images(tmp_path, counts)
    with pytest.raises(DataError, match=reason):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_unreadable_image_is_named(tmp_path, content):
    write_images(tmp_path, {"white": 4, "black": 4})
    (tmp_path / "white" / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png' is not a readable image"):
        datasets.load(str(tmp_path))


def test_link_to_nowhere_is_named(tmp_path):
    write_images(tmp_path, {"white": 4, "black": 4})
    (tmp_path / "white" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"lost\.png' is not a readable image"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "mode", "color_mode"),
    [("gif", "P", "grayscale"), ("bmp", "RGB", "grayscale"), ("jpg", "RGB", "rgba")],
)
def test_image_without_the_channels_of_the_color_mode_is_named(tmp_path, suffix, mode, color_mode):
    write_images(tmp_path, {"white": 4, "black": 4})
    image = keras.utils.array_to_img(np.zeros((9, 9, 3)), scale=False).convert(mode)
    image.save(tmp_path / "white" / f"other.{suffix}")
    with pytest.raises(DataError, match=rf"other\.{suffix}' is not a readable image of [14] chann"):
        datasets.load(str(tmp_path), color_mode=color_mode)


def test_npz_holds_what_was_saved(npz):
    data = datasets.load(npz(y_train=(np.arange(12) % 3)[:, np.newaxis]))
    (x, y), (x_val, _) = values(data.train), values(data.val)
    assert data.input_shape == (5,)
    assert data.num_classes == 3
    assert len(x) == 12
    assert len(x_val) == 6
    assert sorted(y) == sorted(np.arange(12) % 3)


def test_npz_bytes_are_pixels_and_test_arrays_serve_for_validation(npz):
    pixels = np.full((12, 4, 4), 255, "uint8")
    path = npz(x_train=pixels, x_val=None, y_val=None, x_test=pixels[:6], y_test=np.arange(6) % 3)
    data = datasets.load(path)
    assert data.input_shape == (4, 4, 1)
    assert np.array_equal(np.unique(values(data.val)[0]), [1.0])


PEAK = """
import gc, sys, tracemalloc
from sft_keras import datasets

datasets.load(sys.argv[1])  # the first time imports, which takes memory of its own
gc.collect()
tracemalloc.start()
datasets.load(sys.argv[1])
print(tracemalloc.get_traced_memory()[1])
"""


def peak_of_loading(path):
    """Most bytes of arrays at a time, in a process where nothing else has left any."""
    command = [sys.executable, "-c", PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return int(done.stdout)


@pytest.mark.parametrize("name", ["notes", "x_test"])
def test_npz_arrays_that_are_not_needed_are_not_read(npz, name):
    assert peak_of_loading(npz(**{name: np.zeros(2**26, "uint8")})) < 2**25
    assert datasets.load(npz(**{name: np.array([{}])})).num_classes == 3


def test_npz_bytes_take_no_more_memory_than_their_floats(npz):
    pixels = np.zeros((12, 2**9, 2**9), "uint8")
    assert peak_of_loading(npz(x_train=pixels, x_val=pixels[:6])) < 8 * 1.5 * pixels.size


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"y_train": None}, "lacks y_train"),
        ({"x_val": None}, "lacks x_test, y_test"),
        ({"x_train": np.zeros((11, 5))}, r"x_train .*\(11, 5\) for 12 labels"),
        ({"x_train": np.zeros((0, 5)), "y_train": np.zeros(0, int)}, "for 0 labels"),
        ({"x_train": np.zeros(12)}, r"x_train .*\(12,\) for 12 labels"),
        ({"x_val": np.zeros((6, 4))}, r"samples of x_train .*\(5,\), those of x_val \(4,\)"),
        ({"y_train": np.zeros(12)}, "y_train .* float64; it must hold one integer"),
        ({"y_train": np.eye(12, dtype=int)}, r"y_train .*\(12, 12\)"),
        ({"y_train": np.arange(12) - 1}, "y_train .* negative"),
        ({"y_train": np.arange(12) + 10**12}, "y_train .* label 1,000,000,000,011"),
        ({"y_train": np.full(12, 2**64 - 1, np.uint64)}, "y_train .* label 18,446,744"),
        ({"x_val": np.zeros((6, 0))}, r"x_val .*\(6, 0\) for 6 labels"),
        ({"x_train": np.full((12, 5), np.nan)}, "x_train .* NaN"),
        ({"x_train": np.full((12, 5), "a")}, "x_train .* must hold numbers"),
        ({"x_train": np.array([{}] * 12)}, "not a readable .npz"),
    ],
)
def test_npz_that_cannot_be_trained_on_is_refused(npz, replaced, reason):
    with pytest.raises(DataError, match=reason):
        datasets.load(npz(**replaced))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn off"])
def test_corrupt_npz_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        datasets.load(str(path))


@pytest.mark.parametrize("source", ["digit", "no/such/folder", "absent.npz", ""])
def test_unknown_source_is_refused(source):
    with pytest.raises(DataError, match="There is no dataset"):
        datasets.load(source)
