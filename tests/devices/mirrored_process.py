"""Prunes on one device and on two of TensorFlow's; prints one line of JSON.

python tests/devices/mirrored_process.py keras|tf_keras
TF_CONFIG=... python tests/devices/mirrored_process.py tf_keras   # a worker of several
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras.channels.mask import read_mask


def prune(flavor, strategy):
    """The mask and weights after a short pruning, the zeros in each replica, and how many filters
    are left after `shrink`."""
    flavor.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6, 6, 2)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int32")
    with strategy.scope():
        layers = flavor.layers
        image = flavor.Input((6, 6, 2))
        features = layers.Conv2D(8, 3, name="conv")(image)
        features = layers.GlobalAveragePooling2D()(layers.ReLU()(features))
        model = flavor.Model(image, layers.Dense(2, activation="softmax")(features))
        # Momentum would move filters on that nothing holds.
        sgd = flavor.optimizers.SGD(0.01, momentum=0.9)
        model.compile(sgd, "sparse_categorical_crossentropy")
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.with_options(options)
    phases = sft_keras.schedules.Phases(soft_share=0.7, prune_epochs=1, fine_tune_epochs=1)
    callback = sft_keras.SoftFilterPrune(phases=phases)
    model.fit(batches, epochs=6, validation_data=batches, verbose=0, callbacks=[callback])
    kernel = model.get_layer("conv").kernel
    kernel = kernel.value if flavor is keras else kernel
    replicas = [part.numpy() for part in strategy.experimental_local_results(kernel)]
    zeros = read_mask(callback.groups)
    filters = sft_keras.shrink(model).get_layer("conv").filters
    return callback.mask, model.get_weights(), replicas, zeros, filters


def main(flavor):
    """Compares both."""
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else runs
    else:
        (cpu,) = tf.config.list_physical_devices("CPU")
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    two = prune(flavor, strategy)
    one = prune(flavor, tf.distribute.get_strategy())
    found = {
        "replicas": strategy.num_replicas_in_sync,
        "pruned": int(two[0].sum()),
        "same_mask": bool(np.array_equal(one[0], two[0])),
        "masked_is_zero": bool((two[3] | ~two[0]).all()),
        "filters_left": two[4],
        "local_replicas": len(two[2]),
        "replicas_are_equal": all(np.array_equal(two[2][0], part) for part in two[2]),
        "difference": max(float(np.abs(a - b).max()) for a, b in zip(one[1], two[1], strict=True)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main({"keras": keras, "tf_keras": tf_keras}[sys.argv[1]])
