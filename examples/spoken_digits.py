"""Spoken words from WAV files: a DS-CNN on log-mel features, pruned, shrunk and made int8.

Takes a folder or an archive of mono 16-bit recordings named `<word>_<speaker>_<index>.wav`, like
https://github.com/Jakobovski/free-spoken-digit-dataset; index 0 to 4 of each speaker is the test
set, as the authors of that data set split it. Takes about three minutes on one core.

    python examples/spoken_digits.py --data=fsdd.tar.gz --out=spoken_digits

Writes `model.tflite` and `labels.txt` (the word of each output) into the folder `--out`. A device
computes the features of `log_mel` and quantizes them with the scale of the file's input.
"""

import io
import pathlib
import re
import sys
import tarfile
import wave

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import layers

import sft_keras

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder or archive of WAV files.", required=True)
flags.DEFINE_string("out", "spoken_digits", "Folder for model.tflite and labels.txt.")
flags.DEFINE_bool("overwrite", False, "Whether to replace what `--out` holds.")
flags.DEFINE_float("pruning_ratio", 0.5, "Share of each layer's filters that is removed.")
flags.DEFINE_integer("epochs", 20, "Epochs before pruning, and again with it.", lower_bound=1)
flags.DEFINE_integer("qat_epochs", 5, "Epochs of quantization-aware training.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and time shifts.")

RATE = 8000  # samples a second, and the length of what the network hears
FRAME = 256  # samples, 32 ms
SHIFT = 5  # frames that a training example moves by, at most


def recordings(path: pathlib.Path) -> dict[str, bytes]:
    """The WAV files of a folder or of an archive, by name; nothing is unpacked to a disk."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.rglob("*.wav"))}
    with tarfile.open(path) as archive:
        files = (member for member in archive if member.isfile() and member.name.endswith(".wav"))
        return {
            pathlib.PurePosixPath(member.name).name: archive.extractfile(member).read()
            for member in sorted(files, key=lambda member: member.name)
        }


def read_second(name: str, content: bytes) -> np.ndarray:
    """One recording at full volume in the middle of a second: float32 of shape `(RATE,)`."""
    try:
        with wave.open(io.BytesIO(content)) as recording:
            kind = recording.getparams()[:3]
            samples = np.frombuffer(recording.readframes(RATE), "<i2").astype("float32")
    except (EOFError, RuntimeError, ValueError, wave.Error) as error:
        reason = str(error) or "its header is damaged"
        raise ValueError(f"{name} is not a whole WAV file: {reason}.") from error
    if kind != (1, 2, RATE):
        raise ValueError(f"{name} is not mono, 16 bits, {RATE} Hz: convert it first.")
    before = (RATE - len(samples)) // 2
    return np.pad(samples, (before, RATE - len(samples) - before)) / abs(samples).max(initial=1)


def log_mel(seconds: np.ndarray) -> np.ndarray:
    """Decibels over 40 of shape `(n, 32, frames, 1)`; silence is -1, full volume about 1."""
    mel = layers.MelSpectrogram(
        FRAME, FRAME, sampling_rate=RATE, num_mel_bins=32, min_freq=60, min_power=1e-4, top_db=200
    )
    return keras.ops.convert_to_numpy(mel(seconds))[..., None] / 40


def load(path: pathlib.Path) -> tuple:
    """Training features and labels, test features and labels, and the words."""
    files = recordings(path)
    names = [re.fullmatch(r"([^_]+)_.*?(\d+)\.wav", name) for name in files]
    if not all(names):
        bad = list(files)[names.index(None)]
        raise ValueError(f"{bad} is not named <word>_<speaker>_<index>.wav.")
    is_test = np.array([int(name[2]) < 5 for name in names], bool)
    if is_test.all() or not is_test.any():
        raise ValueError("it needs WAV files with an index below 5, to test, and others.")
    x = log_mel(np.stack([read_second(*file) for file in files.items()]))
    words, y = np.unique([name[1] for name in names], return_inverse=True)
    return x[~is_test], y[~is_test], x[is_test], y[is_test], words


def shifted(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves one example in time; what leaves at one end, mostly silence, enters at the other."""
    return tf.roll(x, tf.random.uniform((), -SHIFT, SHIFT + 1, tf.int32), axis=1), y


def conv_bn_relu(x, conv: layers.Layer):
    """A convolution without bias, batch normalization and ReLU."""
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(conv(x)))


def ds_cnn(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """A convolution, five depthwise-separable blocks, global average pooling, a Dense layer."""
    how = {"padding": "same", "use_bias": False}
    x = inputs = keras.Input(input_shape)
    x = conv_bn_relu(x, layers.Conv2D(48, 5, strides=2, **how))
    for filters, strides in ((64, 1), (64, 2), (96, 1), (96, 2), (128, 1)):
        x = conv_bn_relu(x, layers.DepthwiseConv2D(3, strides=strides, **how))
        x = conv_bn_relu(x, layers.Conv2D(filters, 1, **how))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def compile_model(model: keras.Model, learning_rate) -> None:
    """Adam on integer labels; `learning_rate` is a number or a schedule."""
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def main(_) -> None:
    """Trains, prunes, shrinks, quantizes, converts and verifies."""
    out = pathlib.Path(FLAGS.out)
    if out.exists() and not FLAGS.overwrite:
        sys.exit(f"{out} exists; choose another --out or pass --overwrite.")
    try:
        x_train, y_train, x_test, y_test, words = load(pathlib.Path(FLAGS.data))
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        sys.exit(f"--data={FLAGS.data} cannot be used: {error}")
    keras.utils.set_random_seed(FLAGS.seed)
    train = tf.data.Dataset.from_tensor_slices((x_train, y_train)).cache().shuffle(len(x_train))
    train = train.map(shifted).batch(64).prefetch(tf.data.AUTOTUNE)
    test = (x_test, y_test)

    decay = keras.optimizers.schedules.CosineDecay(3e-3, FLAGS.epochs * len(train))
    model = ds_cnn(x_train.shape[1:], len(words))
    compile_model(model, decay)
    model.fit(train, epochs=FLAGS.epochs, validation_data=test, verbose=2)
    before = sft_keras.cost(model), model.evaluate(*test, verbose=0)[1]

    compile_model(model, decay)
    prune = sft_keras.SoftFilterPrune(FLAGS.pruning_ratio)
    model.fit(train, epochs=FLAGS.epochs, validation_data=test, callbacks=[prune], verbose=2)
    small = sft_keras.shrink(model)
    after = sft_keras.cost(small), small.evaluate(*test, verbose=0)[1]

    compile_model(small, 3e-4)
    qat = sft_keras.quantize(small)
    qat.fit(train, epochs=FLAGS.qat_epochs, validation_data=test, verbose=2)
    lite = sft_keras.convert(qat)
    out.mkdir(parents=True, exist_ok=True)
    lite.save(out / "model.tflite", overwrite=FLAGS.overwrite)
    (out / "labels.txt").write_text("\n".join(words) + "\n")

    for name, (cost, accuracy) in {"float": before, "pruned": after}.items():
        print(f"{name:8}{accuracy:8.2%}{cost.params:10,} parameters{cost.macs:12,} MACs")
    print(lite)
    print(sft_keras.verify(lite, test))


if __name__ == "__main__":
    app.run(main)
