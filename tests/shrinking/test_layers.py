"""Every layer type, in a chain: masked and shrunk model give the same outputs."""

import os
import subprocess
import sys

import pytest

import sft_keras

IMAGE, SERIES, VOLUME = (10, 12, 3), (14, 3), (6, 7, 8, 2)


def _head2d(layers):
    return [layers.GlobalAveragePooling2D(), layers.Dense(2)]


# name: (input shape, number of filters that can be pruned, layers given `keras.layers`)
CHAINS = {
    "conv1d": (SERIES, 6, lambda x: [x.Conv1D(6, 3), x.Conv1D(2, 3), x.Flatten()]),
    "conv1d_causal_dilated": (
        SERIES,
        11,
        lambda x: [
            x.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu"),
            x.Conv1D(5, 3, strides=2, padding="same"),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "conv2d": (
        IMAGE,
        19,
        lambda x: [
            x.Conv2D(8, 3, padding="same", use_bias=False),
            x.Conv2D(6, (3, 5), strides=2, padding="same", activation="relu"),
            x.Conv2D(5, 2, dilation_rate=2),
            *_head2d(x),
        ],
    ),
    "conv2d_grouped": (
        IMAGE,
        12,  # 4 of 8 filters of the first, 3 of 6 of the grouped one, and 5
        lambda x: [
            x.Conv2D(8, 3),
            x.Conv2D(6, 3, groups=2, activation="relu"),
            x.Conv2D(5, 3),
            *_head2d(x),
        ],
    ),
    "conv2d_depthwise_by_groups": (
        IMAGE,
        11,  # one channel a group: the groups go one by one
        lambda x: [
            x.Conv2D(6, 3, activation="sigmoid"),
            x.Conv2D(12, 3, padding="same", groups=6, activation="sigmoid"),
            x.Conv2D(5, 1),
            *_head2d(x),
        ],
    ),
    "conv2d_image_by_groups": (
        IMAGE,
        2,  # which are one filter of each group together
        lambda x: [x.Conv2D(6, 3, groups=3), x.Conv2D(2, 1), x.Flatten()],
    ),
    "conv3d": (
        VOLUME,
        9,
        lambda x: [x.Conv3D(5, 3, padding="same"), x.Conv3D(4, 2), x.Flatten(), x.Dense(2)],
    ),
    "depthwise1d": (
        SERIES,
        11,
        lambda x: [
            x.Conv1D(6, 3),
            x.DepthwiseConv1D(3, depth_multiplier=2),
            x.Conv1D(5, 1),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "depthwise2d": (
        IMAGE,
        12,
        lambda x: [
            x.Conv2D(7, 3, activation="sigmoid"),
            x.DepthwiseConv2D(3, padding="same", activation="relu"),
            x.BatchNormalization(),
            x.Conv2D(5, 1),
            *_head2d(x),
        ],
    ),
    "depthwise2d_multiplier": (
        IMAGE,
        11,
        lambda x: [
            x.DepthwiseConv2D(3, depth_multiplier=2),
            x.Conv2D(6, 3),
            x.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False),
            x.BatchNormalization(),
            x.Conv2D(5, 1),
            *_head2d(x),
        ],
    ),
    "separable1d": (
        SERIES,
        11,
        lambda x: [
            x.SeparableConv1D(6, 3, depth_multiplier=2, activation="relu"),
            x.SeparableConv1D(5, 3, padding="same"),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "separable2d": (
        IMAGE,
        12,
        lambda x: [
            x.SeparableConv2D(7, 3, activation="sigmoid"),
            x.SeparableConv2D(5, 3, depth_multiplier=2, padding="same", use_bias=False),
            x.BatchNormalization(),
            *_head2d(x),
        ],
    ),
    "conv1d_transpose": (
        SERIES,
        11,
        lambda x: [
            x.Conv1DTranspose(6, 3, strides=2, activation="relu"),
            x.Conv1DTranspose(5, 3, padding="same"),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "conv2d_transpose": (
        IMAGE,
        12,
        lambda x: [
            x.Conv2DTranspose(7, 3, strides=2, padding="same", output_padding=1),
            x.BatchNormalization(),
            x.Conv2DTranspose(5, 2, activation="relu"),
            x.Conv2D(2, 3),
        ],
    ),
    "conv3d_transpose": (
        VOLUME,
        9,
        lambda x: [x.Conv3DTranspose(5, 2, strides=2), x.Conv3DTranspose(4, 2), x.Conv3D(2, 1)],
    ),
    "dense": ((9,), 15, lambda x: [x.Dense(8, activation="relu"), x.Dense(7), x.Dense(3)]),
    "dense_rank3": (
        SERIES,
        13,
        lambda x: [x.Dense(8, activation="relu"), x.Dense(5), x.Flatten(), x.Dense(3)],
    ),
    "batch_normalization": (
        IMAGE,
        8,
        lambda x: [
            x.BatchNormalization(),
            x.Conv2D(8, 3, use_bias=False),
            x.BatchNormalization(scale=False),
            x.ReLU(),
            x.BatchNormalization(center=False),
            x.BatchNormalization(scale=False, center=False),
            *_head2d(x),
        ],
    ),
    "batch_normalization_of_flat": (
        (6, 6, 2),
        11,
        lambda x: [
            x.Conv2D(6, 3),
            x.Flatten(),
            x.BatchNormalization(),
            x.Dense(5),
            x.BatchNormalization(axis=1),
            x.Dense(2),
        ],
    ),
    "rectifiers": (
        IMAGE,
        23,
        lambda x: [
            x.Conv2D(6, 3),
            x.LeakyReLU(),
            x.Conv2D(6, 3),
            x.ELU(),
            x.Conv2D(6, 3),
            x.PReLU(shared_axes=[1, 2]),
            x.Conv2D(5, 3),
            x.PReLU(),
            *_head2d(x),
        ],
    ),
    "threshold": (
        IMAGE,
        6,
        lambda x: [
            x.Conv2D(6, 3),
            x.ReLU(threshold=0.5, negative_slope=0.25, max_value=2.0),
            *_head2d(x),
        ],
    ),
    "pooling1d": (
        SERIES,
        6,
        lambda x: [
            x.Conv1D(6, 3),
            x.ZeroPadding1D(2),
            x.MaxPooling1D(2, padding="same"),
            x.UpSampling1D(3),
            x.Cropping1D((1, 2)),
            x.AveragePooling1D(3, strides=2, padding="same"),
            x.GlobalMaxPooling1D(keepdims=True),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "pooling2d": (
        IMAGE,
        6,
        lambda x: [
            x.Conv2D(6, 3),
            x.ZeroPadding2D(((1, 2), (0, 1))),
            x.MaxPooling2D(2),
            x.UpSampling2D(2, interpolation="bilinear"),
            x.Cropping2D(1),
            x.AveragePooling2D(2, padding="same"),
            x.GlobalAveragePooling2D(keepdims=True),
            x.Conv2D(2, 1),
        ],
    ),
    "pooling3d": (
        VOLUME,
        4,
        lambda x: [
            x.Conv3D(4, 3),
            x.ZeroPadding3D(1),
            x.MaxPooling3D(2),
            x.UpSampling3D(2),
            x.Cropping3D(1),
            x.AveragePooling3D(2, padding="same"),
            x.GlobalAveragePooling3D(),
            x.Dense(2),
        ],
    ),
    "global_max": (
        IMAGE,
        6,
        lambda x: [x.Conv2D(6, 3, activation="sigmoid"), x.GlobalMaxPooling2D(), x.Dense(2)],
    ),
    "reshape": (
        IMAGE,
        11,
        lambda x: [
            x.Conv2D(6, 3),
            x.Reshape((80, 6)),
            x.Conv1D(5, 1),
            x.Reshape((8, 50)),
            x.Reshape((-1, 5)),
            x.Permute((2, 1)),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "repeat_vector": (
        (9,),
        8,
        lambda x: [x.Dense(8, activation="sigmoid"), x.RepeatVector(3), x.Conv1D(2, 3)],
    ),
    "noise": (
        IMAGE,
        6,
        lambda x: [
            x.GaussianNoise(0.1),
            x.Conv2D(6, 3),
            x.Dropout(0.5),
            x.SpatialDropout2D(0.5),
            x.GaussianDropout(0.5),
            x.AlphaDropout(0.5),
            x.ActivityRegularization(0.1),
            *_head2d(x),
        ],
    ),
    "rescaling": (
        IMAGE,
        11,
        lambda x: [
            x.Rescaling(2.0, offset=-1.0),
            x.Conv2D(6, 3),
            x.Rescaling(0.5, offset=3.0),
            x.Rescaling([-1.0], offset=[1.0]),
            x.Conv2D(5, 3),
            *_head2d(x),
        ],
    ),
    "scale_per_channel": (
        IMAGE,
        5,
        lambda x: [
            x.Rescaling([1.0, 2.0, 3.0], offset=[0.0, 1.0, 2.0]),
            x.Normalization(mean=[0.0, 1.0, 2.0], variance=[1.0, 2.0, 3.0]),
            x.Conv2D(5, 3),
            x.Conv2D(3, 3),
            x.Normalization(mean=[0.0, 1.0, 2.0], variance=[1.0, 2.0, 3.0]),
            x.Flatten(),
            x.Dense(2),
        ],
    ),
    "channels_first": (
        (3, 10),
        6,
        lambda x: [
            x.Permute((2, 1)),
            x.Conv1D(6, 3),
            x.Permute((2, 1)),
            x.BatchNormalization(axis=1),
            x.PReLU(shared_axes=[2]),
            x.GlobalAveragePooling1D(data_format="channels_first", keepdims=True),
            x.Flatten(data_format="channels_first"),
            x.Dense(2),
        ],
    ),
    "activation_layers_as_arguments": (
        IMAGE,
        11,
        lambda x: [
            x.Conv2D(6, 3, activation=x.LeakyReLU()),
            x.Conv2D(5, 3, activation=x.ReLU(threshold=0.5, negative_slope=0.25)),
            x.Conv2D(2, 3),
        ],
    ),
    "one_filter_layer": (IMAGE, 6, lambda x: [x.Conv2D(6, 3), x.Conv2D(1, 3), x.Flatten()]),
}


@pytest.fixture(params=CHAINS)
def chain(request, flavor):
    """A model from `CHAINS`, and how many of its filters can be pruned."""
    shape, prunable, layers = CHAINS[request.param]
    return flavor.Sequential([flavor.Input(shape), *layers(flavor.layers)]), prunable


def test_shrunk_chain_equals_masked_chain(chain, shrink_and_compare):
    model, prunable = chain
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


ACTIVATIONS = (
    *("relu", "relu6", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "hard_sigmoid", "mish"),
    *("softplus", "softsign", "exponential", "linear", "leaky_relu"),
)


CONSUMERS = ("dense", "pointwise", "valid", "same", "no_bias")


@pytest.mark.parametrize(
    ("name", "consumer"),
    [*((name, "valid") for name in ACTIVATIONS), *(("softplus", name) for name in CONSUMERS)],
)
def test_constant_of_pruned_filter_is_folded_or_freezes(flavor, name, consumer, shrink_and_compare):
    layers = flavor.layers
    behind = {
        "dense": layers.Dense(3),
        "pointwise": layers.Conv2D(3, 1, strides=2, padding="same"),
        "valid": layers.Conv2D(3, 3, dilation_rate=2),
        "same": layers.Conv2D(3, 3, padding="same"),
        "no_bias": layers.Conv2D(3, 3, use_bias=False),
    }[consumer]
    before = layers.Conv2D(6, 3, activation=name)
    model = flavor.Sequential(
        [flavor.Input((9, 9, 2)), before, layers.Activation(name), behind, layers.Flatten()]
    )
    zero_at_zero = name not in ("sigmoid", "hard_sigmoid", "softplus", "exponential")
    exact = zero_at_zero or consumer in ("dense", "pointwise", "valid")
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == (6 if exact else 0), str(groups)
    if not exact:
        assert f"emits a constant when pruned, which '{behind.name}'" in str(groups)
    shrink_and_compare(model)


def test_channels_first_convolutions(shrink_and_compare):
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "1":
        # Only oneDNN runs them on a CPU, and TensorFlow turns it on by itself on some alone.
        this = f"{__file__}::{test_channels_first_convolutions.__name__}"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", this]
        subprocess.run(command, env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}, check=True)
        return

    import tf_keras as k  # Keras 3 runs no channels-first convolution on a CPU

    first = {"data_format": "channels_first"}
    model = k.Sequential(
        [
            k.Input((3, 8, 9)),
            k.layers.Conv2D(6, 3, **first),
            k.layers.BatchNormalization(axis=1),
            k.layers.MaxPooling2D(2, **first),
            k.layers.DepthwiseConv2D(2, **first),
            k.layers.Conv2D(5, 1, **first),
            k.layers.ZeroPadding2D(1, **first),
            k.layers.Flatten(**first),
            k.layers.Dense(2),
        ]
    )
    assert sft_keras.channel_groups(model).prunable.sum() == 11
    shrink_and_compare(model)
