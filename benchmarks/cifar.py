"""A part of CIFAR-10 at 16x16, from a `.tar.gz` of JPEG files in class folders."""

import tarfile

import numpy as np
import tensorflow as tf

SIZE = 16


def load(path: str, train: int, test: int, seed: int = 0):
    """Reads the first images, in a shuffled order, of `cifar10/{train,test}/<class>/*.jpg`.

    Args:
        path: the archive.
        train: how many training images.
        test: how many test images.
        seed: of the choice.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 (n, 16, 16, 3) in 0..1, int32 (n,).
    """
    with tarfile.open(path) as archive:
        files = sorted((m for m in archive if m.name.endswith(".jpg")), key=lambda m: m.name)
        chosen = _choose(files, "train", train, seed), _choose(files, "test", test, seed)
        classes = sorted({_class(member) for member in files})
        # In the order of the archive: going back in a compressed file reads it again.
        wanted = sorted({m for part in chosen for m in part}, key=lambda m: m.offset)
        images = {m.name: _decode(archive.extractfile(m).read()) for m in wanted}
    return tuple(
        (
            np.stack([images[m.name] for m in part]),
            np.array([classes.index(_class(m)) for m in part], "int32"),
        )
        for part in chosen
    )


def _choose(files, split: str, count: int, seed: int):
    names = [m for m in files if m.name.split("/")[-3] == split]
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]]


def _class(member) -> str:
    return member.name.split("/")[-2]


def _decode(data: bytes) -> np.ndarray:
    image = tf.io.decode_jpeg(data, channels=3)
    return tf.image.resize(image, (SIZE, SIZE), method="area").numpy() / 255.0
