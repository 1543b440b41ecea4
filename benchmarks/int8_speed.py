"""How much faster the int8 file of a shrunk network is than that of the whole one.

    python benchmarks/int8_speed.py

Half of each layer's filters go, by their L1 norm; the weights are random. Both networks become int8
after training, and the two files run in turns on LiteRT.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags
from keras import layers
from networks import randomize

import sft_keras
from sft_keras.tflite import benchmark

FLAGS = flags.FLAGS
flags.DEFINE_float("pruning_ratio", 0.5, "Share of each layer's filters that goes.")
flags.DEFINE_integer("runs", 1000, "Inferences of each file.")
flags.DEFINE_integer("threads", 1, "CPU threads.")
flags.DEFINE_integer("width_multiple", 1, "Round the filters kept up to a multiple of.")


def mobile_net_v2() -> keras.Model:
    """MobileNetV2 of width 1 on images of 96x96."""
    options = {"weights": None, "classes": 10, "input_shape": (96, 96, 3)}
    return keras.applications.MobileNetV2(**options)


def resnet_8() -> keras.Model:
    """The network of MLPerf Tiny's image classification, on images of 32x32."""

    def conv(x, filters, strides=1, size=3):
        x = layers.Conv2D(filters, size, strides, "same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv(image, 16))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = conv(layers.ReLU()(conv(x, filters, strides)), filters)
        shortcut = x if strides == 1 else conv(x, filters, strides, 1)
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def main(argv):
    """Prints a table for each network."""
    del argv
    for build in (mobile_net_v2, resnet_8):
        keras.utils.set_random_seed(0)
        model = build()
        randomize(model)
        options = {"criterion": "l1", "width_multiple": FLAGS.width_multiple}
        plan = sft_keras.plan(model, FLAGS.pruning_ratio, **options)
        images = np.random.default_rng(0).normal(size=(20, *model.input_shape[1:]))
        files = {
            name: sft_keras.convert(network, images.astype("float32"))
            for name, network in (("whole", model), ("shrunk", sft_keras.shrink(model, plan)))
        }
        found = benchmark(files, FLAGS.runs, threads=FLAGS.threads)
        row = found.rows[1]
        print(f"{build.__name__}, speed-up / MAC ratio: {row.speed.median / row.fewer_macs:.2f}")
        print(found, flush=True)


if __name__ == "__main__":
    app.run(main)
