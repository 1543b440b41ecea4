"""The shortest way through the package: scikit-learn's 8x8 digits to an int8 `.tflite` file.

No download; takes about a minute on one core.

    python examples/digits.py --out=digits.tflite
"""

import pathlib
import sys

import keras
from absl import app, flags
from keras import layers

import sft_keras
from sft_keras import datasets

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "digits.tflite", "File to write.")
flags.DEFINE_integer("epochs", 30, "Epochs of training with pruning.", lower_bound=1)
flags.DEFINE_integer("qat_epochs", 3, "Epochs of quantization-aware training.", lower_bound=1)


def main(_) -> None:
    """Trains and prunes, shrinks, quantizes, converts and verifies."""
    if pathlib.Path(FLAGS.out).exists():
        sys.exit(f"{FLAGS.out} exists; remove it or choose another --out.")
    keras.utils.set_random_seed(0)
    digits = datasets.load("digits")
    train, val = digits.train, digits.val
    model = keras.Sequential(
        [
            keras.Input(digits.input_shape),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(digits.num_classes, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    prune = sft_keras.SoftFilterPrune()
    model.fit(train, epochs=FLAGS.epochs, validation_data=val, callbacks=[prune], verbose=2)
    small = sft_keras.shrink(model)
    qat = sft_keras.quantize(small)
    qat.fit(train, epochs=FLAGS.qat_epochs, validation_data=val, verbose=2)
    lite = sft_keras.convert(qat)
    lite.save(FLAGS.out)
    print(f"{sft_keras.cost(model).macs:,} MACs before, {sft_keras.cost(small).macs:,} after.")
    print(lite)
    print(sft_keras.verify(lite, val))


if __name__ == "__main__":
    app.run(main)
