"""Your own images to an int8 `.tflite` file: one folder per class, with images in it.

    photos/cat/1.jpg photos/cat/2.jpg ... photos/dog/1.jpg ...

    python examples/image_folder.py --data=photos --image_size=64 --out=photos_int8

A quarter of the images is held out for validation. Writes `model.tflite`, `labels.txt` (the class
of each output) and the float model that was pruned, `small.keras`, into the folder `--out`. The
file takes RGB pixels scaled to 0..1, quantized with the scale of its input.
"""

import pathlib
import sys

import keras
from absl import app, flags
from keras import layers

import sft_keras
from sft_keras import datasets, errors

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with one subfolder of images per class.", required=True)
flags.DEFINE_string("out", "image_folder", "Folder for what is written.")
flags.DEFINE_bool("overwrite", False, "Whether to replace what `--out` holds.")
flags.DEFINE_integer("image_size", 64, "Height and width of the network's input.", lower_bound=16)
flags.DEFINE_float("pruning_ratio", 0.5, "Share of each layer's filters that is removed.")
flags.DEFINE_integer("epochs", 40, "Epochs of training with pruning.", lower_bound=1)
flags.DEFINE_integer("qat_epochs", 5, "Epochs of quantization-aware training.", lower_bound=1)


def conv_bn_relu(x, filters: int, strides: int = 1):
    """A 3x3 convolution without bias, batch normalization and ReLU."""
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def cnn(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """Four stages of convolutions, each at half the resolution, the last three residual."""
    inputs = keras.Input(input_shape)
    x = conv_bn_relu(inputs, 16, strides=2)
    for filters in (32, 64, 128):
        x = conv_bn_relu(x, filters, strides=2)
        x = layers.Add()([x, conv_bn_relu(x, filters)])
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def main(_) -> None:
    """Trains and prunes, shrinks, quantizes, converts and verifies."""
    out = pathlib.Path(FLAGS.out)
    if out.exists() and not FLAGS.overwrite:
        sys.exit(f"{out} exists; choose another --out or pass --overwrite.")
    try:
        images = datasets.load(FLAGS.data, image_size=(FLAGS.image_size,) * 2)
    except errors.DataError as error:
        sys.exit(str(error))
    keras.utils.set_random_seed(0)
    flip = layers.RandomFlip("horizontal")
    train = images.train.map(lambda x, y: (flip(x, training=True), y))

    model = cnn(images.input_shape, images.num_classes)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    prune = sft_keras.SoftFilterPrune(FLAGS.pruning_ratio)
    model.fit(train, epochs=FLAGS.epochs, validation_data=images.val, callbacks=[prune], verbose=2)
    small = sft_keras.shrink(model)
    qat = sft_keras.quantize(small)
    qat.fit(train, epochs=FLAGS.qat_epochs, validation_data=images.val, verbose=2)
    lite = sft_keras.convert(qat)

    out.mkdir(parents=True, exist_ok=True)
    small.save(out / "small.keras", overwrite=FLAGS.overwrite)
    lite.save(out / "model.tflite", overwrite=FLAGS.overwrite)
    (out / "labels.txt").write_text("\n".join(images.labels) + "\n")
    print(f"{sft_keras.cost(model).macs:,} MACs before, {sft_keras.cost(small).macs:,} after.")
    print(lite)
    print(sft_keras.verify(lite, images.val))


if __name__ == "__main__":
    app.run(main)
