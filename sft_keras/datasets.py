"""Labelled data for training: scikit-learn's digits, an image folder, or a `.npz` file."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sft_keras.errors import DataError

VALIDATION_SHARE = 0.25
MOST_CLASSES = 10**6
NPZ_KEYS = "x_train, y_train, and x_val, y_val (or x_test, y_test)"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training and validation batches, ready for `fit` of either Keras.

    Attributes:
        train: batches of `(x, y)`: float32 samples, int labels of shape `(batch,)`. Shuffled anew
            each epoch.
        val: the same, held out.
        labels: the name of each class, in the order of the labels.
        input_shape: one sample's shape, without the batch axis.
    """

    train: tf.data.Dataset
    val: tf.data.Dataset
    labels: list[str]
    input_shape: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        """How many classes the labels tell apart."""
        return len(self.labels)


def load(
    source: str,
    *,
    batch_size: int = 32,
    image_size: tuple[int, int] = (96, 96),
    color_mode: str = "rgb",
    seed: int = 0,
) -> Dataset:
    """Loads a dataset by name or path.

    Args:
        source: `"digits"` (1,797 scikit-learn digits, 8x8 pixels, no download), a folder with one
            subfolder of images per class, or a `.npz` file with arrays `x_train`, `y_train`,
            and `x_val`, `y_val` (or `x_test`, `y_test`).
        batch_size: samples per batch.
        image_size: height and width, in pixels, to which the images of a folder are resized.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`, for the images of a folder.
        seed: seed of the split and of the shuffling.

    Returns:
        A `Dataset`. A quarter of the digits or of the folder's images is held out for validation.
        Pixels lie in 0..1; an uint8 array of a `.npz` file is taken for pixels, other arrays
        are left as they are.

    Raises:
        DataError: nothing is there, or what is there cannot be trained on.

    Example:
        >>> digits = sft_keras.datasets.load("digits")
        >>> digits.input_shape, digits.num_classes
        ((8, 8, 1), 10)
    """
    if source == "digits":
        return _digits(batch_size, seed)
    path = Path(source)
    if source and path.is_dir():  # Path("") is the current folder
        return _image_folder(path, batch_size, image_size, color_mode, seed)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path, batch_size, seed)
    raise DataError(
        f"There is no dataset '{source}'; give 'digits', an existing folder with one subfolder of "
        "images per class, or an existing .npz file."
    )


def _digits(batch_size, seed):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16).astype("float32")  # scikit-learn's digits have 17 grey levels
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, test_size=VALIDATION_SHARE, stratify=y, random_state=seed
    )
    return _from_arrays((x_train, y_train), (x_val, y_val), batch_size, seed)


def _from_arrays(train, val, batch_size, seed):
    (x, y), num_classes = train, int(max(train[1].max(), val[1].max())) + 1
    shuffled = tf.data.Dataset.from_tensor_slices(train).shuffle(len(y), seed=seed)
    return Dataset(
        train=shuffled.batch(batch_size).prefetch(1),
        val=tf.data.Dataset.from_tensor_slices(val).batch(batch_size),
        labels=[str(label) for label in range(num_classes)],
        input_shape=tuple(x.shape[1:]),
    )


def _image_folder(folder, batch_size, image_size, color_mode, seed):
    labels = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(labels) < 2:
        raise DataError(
            f"Image folder '{folder}' has {len(labels)} subfolders; it needs one for each class, "
            "at least two."
        )
    try:
        train, val = keras.utils.image_dataset_from_directory(
            folder,
            class_names=labels,
            color_mode=color_mode,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            validation_split=VALIDATION_SHARE,
            subset="both",
            verbose=False,
        )
    except ValueError as error:
        raise DataError(
            f"Image folder '{folder}' has too few images to train on; put .png, .jpg, .bmp or .gif "
            "files into its subfolders."
        ) from error
    for path in (*train.file_paths, *val.file_paths):
        _require_image(path, train.element_spec[0].shape[-1])

    def to_unit_range(images, y):
        return images / 255.0, y

    return Dataset(
        train=train.map(to_unit_range).prefetch(1),
        val=val.map(to_unit_range).prefetch(1),
        labels=labels,
        input_shape=tuple(train.element_spec[0].shape[1:]),
    )


def _require_image(path, channels):
    # In the middle of an epoch TensorFlow's own error does not say which file it is about.
    try:
        tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise DataError(
            f"'{path}' is not a readable image of {channels} channels; repair or remove it."
        ) from error


def _npz(path, batch_size, seed):
    names, arrays = _read_npz(path)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"'{path}' lacks {', '.join(missing)}; it needs {NPZ_KEYS}.")
    train = _samples(path, names[0], names[1], arrays)
    val = _samples(path, names[2], names[3], arrays)
    if train[0].shape[1:] != val[0].shape[1:]:
        raise DataError(
            f"In '{path}', samples of x_train have shape {train[0].shape[1:]}, those of {names[2]} "
            f"{val[0].shape[1:]}; make them equal."
        )
    return _from_arrays(train, val, batch_size, seed)


def _read_npz(path):
    try:
        # Pickled objects could run any code when loaded.
        with np.load(path, allow_pickle=False) as file:
            held_out = "val" if "x_val" in file.files else "test"
            names = ("x_train", "y_train", f"x_{held_out}", f"y_{held_out}")
            # Whatever else is in the file could take any memory.
            return names, {name: file[name] for name in names if name in file.files}
    except Exception as error:  # a damaged header can raise whatever Python's tokenizer does
        raise DataError(
            f"'{path}' is not a readable .npz file of plain arrays; write it with numpy.savez."
        ) from error


def _samples(path, x_name, y_name, arrays):
    x, y = arrays[x_name], arrays[y_name]
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(
            f"{y_name} in '{path}' has shape {y.shape} and dtype {y.dtype}; it must hold one "
            "integer label per sample."
        )
    if x.ndim < 2 or len(x) != len(y) or not x.size:
        raise DataError(
            f"{x_name} in '{path}' has shape {x.shape} for {len(y)} labels; it must hold one "
            "sample per label along its first axis."
        )
    if y.min() < 0:
        raise DataError(f"{y_name} in '{path}' has negative labels; count classes from 0.")
    if y.max() >= MOST_CLASSES:
        raise DataError(
            f"{y_name} in '{path}' has a label {y.max():,}; number the classes from 0 without gaps."
        )
    with tf.device("cpu"):  # tf.data would copy an array that is still held
        return tf.convert_to_tensor(_numbers(path, x_name, x)), y.astype("int64")


def _numbers(path, name, x):
    if x.dtype == np.uint8:
        pixels = x / np.float32(255)
        return pixels[..., np.newaxis] if x.ndim == 3 else pixels
    if x.dtype.kind not in "fiu":
        raise DataError(f"{name} in '{path}' has dtype {x.dtype}; it must hold numbers.")
    x = x.astype("float32")
    if not np.isfinite(x).all():
        raise DataError(f"{name} in '{path}' holds NaN or infinite values; clean them first.")
    return x
