"""Random networks of all that shrink understands: masked and shrunk model give the same outputs."""

import keras
import tf_keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ACTIVATIONS = st.sampled_from(["relu", "linear", "sigmoid", "tanh", "softplus", "elu"])


def _conv(draw, k, x, _):
    return k.layers.Conv2D(
        draw(st.integers(1, 6)),
        draw(st.sampled_from([1, 2, 3])),
        padding=draw(st.sampled_from(["same", "valid"])) if min(x.shape[1:3]) > 3 else "same",
        use_bias=draw(st.booleans()),
        activation=draw(ACTIVATIONS),
    )(x)


def _grouped(draw, k, x, _):
    return k.layers.Conv2D(2 * draw(st.integers(1, 3)), 1, groups=2 - x.shape[-1] % 2)(x)


def _depthwise(draw, k, x, _):
    multiplier = draw(st.integers(1, 2))
    return k.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier)(x)


def _transposed(draw, k, x, _):
    return k.layers.Conv2DTranspose(draw(st.integers(1, 5)), 2, activation=draw(ACTIVATIONS))(x)


def _norm(draw, k, x, _):
    return k.layers.BatchNormalization(scale=draw(st.booleans()), center=draw(st.booleans()))(x)


def _activation(draw, k, x, _):
    return k.layers.Activation(draw(ACTIVATIONS))(x)


def _positions(draw, k, x, _):
    layers = [k.layers.ZeroPadding2D(1), k.layers.UpSampling2D(2), k.layers.Dropout(0.5)]
    if min(x.shape[1:3]) > 2:
        layers += [k.layers.MaxPooling2D(2), k.layers.AveragePooling2D(2, padding="same")]
        layers += [k.layers.Cropping2D(((1, 0), (0, 1)))]
    return draw(st.sampled_from(layers))(x)


def _merge(draw, k, x, tensors):
    partners = [t for t in tensors if t.shape == x.shape]
    kind = draw(st.sampled_from(["Add", "Multiply", "Maximum", "Subtract", "Average"]))
    return getattr(k.layers, kind)()([draw(st.sampled_from(partners)), x])


def _concatenate(draw, k, x, tensors):
    partners = [t for t in tensors if t.shape[1:3] == x.shape[1:3] and t.shape[-1] < 12]
    return k.layers.Concatenate()([x, draw(st.sampled_from([*partners, x]))])


def _gate(draw, k, x, _):
    gate = k.layers.GlobalAveragePooling2D(keepdims=True)(x)
    channels = draw(st.sampled_from([1, x.shape[-1]]))
    return k.layers.Multiply()([x, k.layers.Conv2D(channels, 1, activation="sigmoid")(gate)])


STEPS = (_conv, _conv, _grouped, _depthwise, _transposed, _norm, _activation)
STEPS += (_positions, _merge, _concatenate, _gate)


@st.composite
def networks(draw):
    """A functional model of 3 to 12 random layers and a head."""
    k = draw(st.sampled_from([keras, tf_keras]))
    k.backend.clear_session()
    tensors = [k.Input((6, 7, 2))]
    for _ in range(draw(st.integers(3, 12))):
        step = draw(st.sampled_from(STEPS))
        # Mostly the newest tensor, sometimes an older one: branches.
        start = tensors[draw(st.sampled_from([-1, -1, -1, 0, len(tensors) // 2]))]
        if max(start.shape[1:3]) < 20:
            tensors.append(step(draw, k, start, tensors))
    head = draw(st.sampled_from([k.layers.Flatten, k.layers.GlobalAveragePooling2D]))()
    ends = [k.layers.Dense(2)(head(tensors[-1]))]
    if draw(st.booleans()):
        ends.append(k.layers.Conv2D(1, 1)(tensors[len(tensors) // 2]))
    return k.Model(tensors[0], ends)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(model=networks(), seed=st.integers(0, 3))
def test_shrunk_network_equals_masked_network(model, seed, shrink_and_compare):
    small = shrink_and_compare(model, seed)
    assert small.count_params() <= model.count_params()
