"""Operators that rearrange and slice: masked and shrunk model agree, in both Kerases."""

import keras
import numpy as np
import pytest
from both_operators import operators, split

import sft_keras
from sft_keras.channels.mask import apply_mask

H, W, C = 4, 6, 6


def network(k, body, activation="relu", shape=(H, W, 3), filters=C):
    """A pointwise convolution, then `body(k, ops, y)`, then a Dense over all that is left."""
    x = k.Input(shape)
    y = k.layers.Conv2D(filters, 1, activation=activation, name="conv")(x)
    y = body(k, operators(k), y)
    return k.Model(x, k.layers.Dense(2, name="logits")(k.layers.Flatten()(y)))


def conv(k, y, filters, **kwargs):
    return k.layers.Conv2D(filters, 1, **kwargs)(y)


def space_to_depth_by_reshape(k, o, y):
    y = o.transpose(o.reshape(y, (-1, 2, 2, 3, 2, C)), (0, 1, 3, 2, 4, 5))
    return conv(k, o.reshape(y, (-1, 2, 3, 4 * C)), 3)


def depth_to_space_by_reshape(k, o, y):
    y = o.reshape(conv(k, y, 12), (-1, H, W, 2, 2, 3))
    y = o.reshape(o.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, 2 * H, 2 * W, 3))
    return conv(k, y, 2)


def depth_to_space(k, o, y):
    return conv(k, o.depth_to_space(conv(k, y, 12), 2), 2)


def space_to_depth(k, o, y):
    return conv(k, o.space_to_depth(y, 2), 3)


def channel_shuffle(k, o, y):
    y = o.transpose(o.reshape(y, (-1, H, W, 2, 3)), (0, 1, 2, 4, 3))
    return conv(k, o.reshape(y, (-1, H, W, C)), 3)


def groups_by_reshape(k, o, y):
    y = o.reshape(y, (-1, H, W, 2, 3))
    return o.multiply(y, o.sigmoid(o.mean(y, axis=3, keepdims=True)))


def gap_of_groups(k, o, y):
    return o.max(o.reshape(y, (-1, H * W, 3, 2)), axis=(1, 2))


def flattened(k, o, y):
    return o.reshape(y, (-1, H * W * C))


def reshaped_with_all_sizes(k, o, y):
    return o.reshape(y, (-1, W, H, C))


def reshaped_to_rows(k, o, y):
    return o.reshape(y, (-1, H * W * C // 12, 12))


def merged_with_a_position(k, o, y):
    return conv(k, o.reshape(y, (-1, H, 1, W * C)), 3)


def transposed(k, o, y):
    return o.transpose(y, (0, 3, 2, 1))


def expanded_and_squeezed(k, o, y):
    y = o.squeeze(o.expand_dims(o.expand_dims(y, -1), 1), axis=-1)
    return o.squeeze(o.transpose(y, (0, 1, 2, 4, 3)), axis=[1])


def flipped(k, o, y):
    return o.flip(o.flip(y, 3), 1)


def rolled(k, o, y):
    return conv(k, o.roll(o.roll(y, 2, axis=-1), -1, axis=1), 3)


def rolled_backwards_twice(k, o, y):
    return o.roll(o.roll(y, -1, axis=3), 4, axis=3)


def repeated(k, o, y):
    return o.repeat(o.repeat(y, 2, axis=-1), 2, axis=1)


def tiled(k, o, y):
    return conv(k, o.tile(y, (1, 1, 2, 3)), 3)


def picked_position(k, o, y):
    return y[:, 1, -2]


def sliced(k, o, y):
    return conv(k, y[:, 1:, ..., 1:5], 3)


def sliced_backwards(k, o, y):
    return conv(k, y[:, ::-1, ::2, ::-1], 3)


def slice_of_a_slice(k, o, y):
    return y[..., 1:][..., :-2]


def slices_that_share(k, o, y):
    return o.concatenate([conv(k, y[..., :4], 2), conv(k, y[..., 2:], 3)], axis=-1)


def new_axis(k, o, y):
    return o.transpose(y[..., None], (0, 1, 4, 2, 3))[:, None, :, 0]


def every_second(k, o, y):
    a, b = conv(k, y[..., ::2], 2), conv(k, y[..., 1::2], 3)
    return o.concatenate([a, b], axis=-1)


def every_third_from_the_last(k, o, y):
    return conv(k, y[..., -1::-3], 3)


def backwards_from_the_middle(k, o, y):
    return y[..., 3::-1]


def split_evenly(k, o, y):
    a, b = o.split(y, 2, axis=-1)
    return o.multiply(a, o.sigmoid(b))


def split_in_three(k, o, y):
    a, b, c = split(k, conv(k, y, 10), (2, 3, 5))
    return o.concatenate([conv(k, a, 2), c, conv(k, b, 3)], axis=-1)


def split_of_rows(k, o, y):
    a, b = split(k, y, (1, 3), axis=1)
    return o.concatenate([b, a], axis=1)


def taken(k, o, y):
    return conv(k, o.take(y, [5, 0, 3, 0], axis=-1), 3)


def taken_rows(k, o, y):
    return o.take(y, [2, 0], axis=1)


def unstacked_rows(k, o, y):
    return o.stack(o.unstack(y, axis=1), axis=2)


def stacked_branches(k, o, y):
    return o.stack([conv(k, y, 5, activation="elu"), conv(k, y, 5)], axis=3)


def padded_shortcut(k, o, y):
    wide = conv(k, y[:, ::2, ::2], 8)
    return o.add(wide, o.pad(y[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [0, 2]]))


def padded_then_read(k, o, y):
    return conv(k, o.pad(y, [[0, 0], [0, 0], [0, 0], [1, 2]]), 3)


def padded_border(k, o, y):
    return conv(k, o.pad(y, [[0, 0], [1, 0], [0, 2], [0, 0]]), 3)


def broadcast(k, o, y):
    return o.multiply(y, o.sigmoid(o.mean(y, axis=[1, 2], keepdims=True)))


def padded_by_a_mirror(k, o, y):
    return conv(k, o.pad(y, [[0, 0], [1, 1], [2, 0], [0, 0]], "reflect"), 3)


# function: prunable classes where pruned filters emit 0, and where they emit 0.5
NETWORKS = {
    space_to_depth_by_reshape: (C + 3, C + 3),
    depth_to_space_by_reshape: (C + 3 + 2, C + 3 + 2),
    depth_to_space: (C + 3 + 2, C + 3 + 2),
    space_to_depth: (C + 3, C + 3),
    channel_shuffle: (3 + 3, 3 + 3),
    groups_by_reshape: (3, 3),
    gap_of_groups: (2, 2),
    flattened: (C, C),
    reshaped_with_all_sizes: (C, C),
    reshaped_to_rows: (C, C),
    merged_with_a_position: (C + 3, C + 3),
    transposed: (C, C),
    expanded_and_squeezed: (C, C),
    flipped: (C, C),
    rolled: (C + 3, C + 3),
    rolled_backwards_twice: (C, C),
    repeated: (C, C),
    tiled: (C + 3, C + 3),
    picked_position: (C, C),
    sliced: (C + 3, C + 3),
    sliced_backwards: (C + 3, C + 3),
    slice_of_a_slice: (C, C),
    slices_that_share: (C + 5, C + 5),
    new_axis: (C, C),
    every_second: (3 + 5, 3 + 5),
    every_third_from_the_last: (2 + 3, 2 + 3),
    backwards_from_the_middle: (C, C),
    split_evenly: (3, 3),
    split_in_three: (C + 10 + 5, C + 10 + 5),
    split_of_rows: (C, C),
    taken: (C + 3, C + 3),
    taken_rows: (C, C),
    unstacked_rows: (C, C),
    stacked_branches: (C + 5, C + 5),
    padded_shortcut: (C, C),
    padded_then_read: (C + 3, C + 3),
    padded_border: (C + 3, 3),
    broadcast: (C, C),
    padded_by_a_mirror: (C + 3, C + 3),
}


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("body", NETWORKS, ids=lambda f: f.__name__)
def test_shrunk_network_equals_masked(flavor, body, activation, shrink_and_compare):
    model = network(flavor, body, activation)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == NETWORKS[body][activation == "sigmoid"], str(groups)
    shrink_and_compare(model)


def test_squeeze_of_no_axis_spares_axes_that_pruning_makes_small(randomize):
    x = keras.Input((5,))
    y = keras.layers.Dense(4, name="two")(keras.ops.squeeze(keras.ops.expand_dims(x, 1)))
    y = keras.ops.squeeze(keras.ops.expand_dims(y, 1))
    model = randomize(keras.Model(x, keras.layers.Dense(2)(y)))
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == 4
    apply_mask(groups, np.array([True, True, True, False, False, False]))
    assert sft_keras.shrink(model).get_layer("two").units == 1
