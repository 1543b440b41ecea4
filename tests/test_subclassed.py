"""Subclassed models: traced into a graph where that is exact, else refused."""

import numpy as np
import pytest

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import read_mask
from sft_keras.errors import UnsupportedError
from sft_keras.shrinking.proof import outputs, relative_difference

IMAGE = (8, 8, 3)


def _block(k, filters):
    class Block(k.Model):
        def __init__(self):
            super().__init__()
            self.relu = k.layers.ReLU()
            self.narrow = k.layers.Conv2D(4, 1, use_bias=False)
            self.norm = k.layers.BatchNormalization()
            self.wide = k.layers.Conv2D(filters, 3, padding="same")

        def call(self, x, training=None):
            y = self.norm(self.narrow(x), training=training)
            return x + self.wide(self.relu(y))

    return Block()


def residual(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            # In another order than they are called in.
            self.relu = k.layers.ReLU()
            self.logits = k.layers.Dense(2)
            self.pool = k.layers.GlobalAveragePooling2D()
            self.drop = k.layers.Dropout(0.5)
            self.norm = k.layers.BatchNormalization()
            self.inner = k.layers.Conv2D(6, 3, padding="same", use_bias=False)
            self.outer = k.layers.Conv2D(8, 3, padding="same")
            self.stem = k.layers.Conv2D(8, 3, padding="same", activation="relu")

        def call(self, x, training=False):
            x = self.stem(x)
            y = self.relu(self.norm(self.inner(x), training=training))
            y = self.drop(self.outer(y), training=training)
            return self.logits(self.pool(x + y))

    return Net(), np.zeros((2, *IMAGE), "float32"), 14


def blocks(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.stem = k.layers.Conv2D(6, 3)
            self.blocks = [_block(k, 6), _block(k, 6)]
            self.head = k.Sequential([k.layers.Conv2D(5, 1), k.layers.Flatten(), k.layers.Dense(2)])

        def call(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Net(), np.zeros((2, *IMAGE), "float32"), 6 + 4 + 4 + 5


def subclass_in_functional(k):
    x = k.Input(IMAGE)
    y = _block(k, 6)(k.layers.Conv2D(6, 3)(x))
    return k.Model(x, k.layers.Conv2D(2, 1)(y)), np.zeros((2, *IMAGE), "float32"), 10


def dictionaries(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.tokens = k.layers.Embedding(2, 5)
            self.dense = k.layers.Dense(6, activation="relu")
            self.first, self.second = k.layers.Dense(2), k.layers.Dense(3)
            self.flat = k.layers.Flatten()
            self.join = k.layers.Concatenate()

        def call(self, inputs):
            words = self.flat(self.tokens(inputs["words"]))
            x = self.join([words, self.dense(inputs["numbers"])])
            return {"b": self.first(x), "a": self.second(x)}

    data = {"numbers": np.zeros((2, 4), "float32"), "words": np.zeros((2, 7), "int32")}
    return Net(), data, None


def functional_with_its_own_train_step(k):
    class Net(k.Model):
        def train_step(self, data):
            return {**super().train_step(data), "mine": 1.0}

    x = k.Input((4,))
    y = k.layers.Dense(2)(k.layers.Dense(6, activation="relu")(x))
    return Net(x, y), np.zeros((2, 4), "float32"), 6


def functional_with_its_own_call(k):
    class Net(k.Model):
        def call(self, x, training=None, mask=None):
            return super().call(x * 3.0, training=training, mask=mask) + 1.0

    x = k.Input((4,))
    y = k.layers.Dense(2)(k.layers.Dense(6, activation="relu")(x))
    return Net(x, y), np.zeros((2, 4), "float32"), 6


def sequential_with_its_own_call(k):
    class Net(k.Sequential):
        def call(self, x, training=None, mask=None):
            first, second = self.layers
            return second(first(x)[:, ::-1] + 1.0)

    layers = [k.layers.Dense(6, activation="relu"), k.layers.Dense(2)]
    return Net([k.Input((4,)), *layers]), np.zeros((2, 4), "float32"), None


MODELS = [
    residual,
    blocks,
    subclass_in_functional,
    dictionaries,
    functional_with_its_own_train_step,
    functional_with_its_own_call,
    sequential_with_its_own_call,
]


def _built(make, k, randomize):
    model, data, prunable = make(k)
    model(data)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        value = flavors.to_numpy(variable)
        new = rng.uniform(0.5, 2.0, value.shape)
        variable.assign(new if "variance" in variable.name else new - 1.25)
    return model, data, prunable


def _noise(data):
    rng = np.random.default_rng(1)

    def noise(x):
        if x.dtype == "int32":
            return rng.integers(0, 2, x.shape).astype("int32")
        return rng.standard_normal(x.shape).astype("float32")

    return {n: noise(x) for n, x in data.items()} if isinstance(data, dict) else noise(data)


@pytest.mark.parametrize("make", MODELS)
def test_masked_and_shrunk_subclass_are_equal(flavor, make, randomize):
    model, data, prunable = _built(make, flavor, randomize)
    groups = sft_keras.channel_groups(model)
    if prunable is not None:
        assert groups.prunable.sum() == prunable
    if not groups.prunable.any():
        pytest.skip("nothing to prune")
    plan = sft_keras.plan(model, 0.5, "l1")
    before = model.get_weights()
    small = sft_keras.shrink(model, plan)
    assert all(map(np.array_equal, before, model.get_weights()))
    sft_keras.mask(model, plan)
    assert sft_keras.plan_from_masks(model) == plan
    assert flavors.is_graph(small)
    assert type(small).__name__ in ("Functional", "Sequential")
    assert sft_keras.cost(small).params < sft_keras.cost(model).params == model.count_params()
    inputs = _noise(data)
    expected = outputs(model, inputs)
    assert relative_difference(expected, outputs(small, inputs)) < 1e-5
    assert all(np.ptp(x) > 0 for x in expected)


@pytest.mark.parametrize("make", [residual, blocks])
def test_subclass_trains_with_pruning(flavor, make, randomize):
    model, _, _ = _built(make, flavor, randomize)
    model.compile("adam", "mse")
    x = _noise(np.zeros((16, *IMAGE), "float32"))
    prune = sft_keras.SoftFilterPrune(0.5)
    model.fit(x, np.zeros((16, 2)), epochs=4, verbose=0, callbacks=[prune])
    assert read_mask(sft_keras.channel_groups(model)).sum() == prune.mask.sum() > 0
    small = sft_keras.shrink(model)
    assert relative_difference(outputs(model, x), outputs(small, x)) < 1e-5


def test_next_steps_of_subclass_and_shrunk_are_the_same(flavor, randomize):
    # Their optimizers list the slots in different orders.
    model, _, _ = _built(residual, flavor, randomize)
    model.drop.rate = 0.0
    for optimizer in (
        flavor.optimizers.SGD(0.01, momentum=0.9),
        flavor.optimizers.Adam(1e-2),
        flavor.optimizers.AdamW(1e-2, weight_decay=0.1),
    ):
        model.compile(optimizer, "mse")
        x, y = _noise(np.zeros((8, *IMAGE), "float32")), np.ones((8, 2), "float32")
        model.fit(x, y, epochs=2, verbose=0)
        plan = sft_keras.plan(model, 0.25)
        small = sft_keras.shrink(model, plan)
        sft_keras.mask(model, plan)
        assert int(small.optimizer.iterations) == 2
        for _ in range(2):
            losses = [float(m.train_on_batch(x, y)) for m in (model, small)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-4)
            sft_keras.mask(model, plan)


def test_shrunk_subclass_drops_out_and_normalizes_by_batch_in_training_alone(flavor, randomize):
    model, _, _ = _built(residual, flavor, randomize)
    small = sft_keras.shrink(model)
    x = _noise(np.zeros((8, *IMAGE), "float32"))
    still, again = (outputs(small, x)[0] for _ in range(2))
    assert np.array_equal(still, again)
    trained = [flavors.to_numpy(small(x, training=True)) for _ in range(2)]
    assert not np.allclose(*trained), "Dropout is at work"
    norm = next(layer for layer in small.layers if type(layer).__name__ == "BatchNormalization")
    before = flavors.to_numpy(norm.moving_mean).copy()
    small(x, training=True)
    assert not np.array_equal(before, flavors.to_numpy(norm.moving_mean))


def test_model_that_was_only_built_by_shape(flavor):
    class Net(flavor.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = flavor.layers.Dense(6), flavor.layers.Dense(2)

        def call(self, x):
            return self.second(self.first(x))

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 6))
        self.built = True

    if flavor.__name__ == "keras":  # tf_keras' own builds the layers
        Net.build = build
    model = Net()
    model.build((None, 4))
    assert sft_keras.channel_groups(model).prunable.sum() == 6


def test_mixed_precision(flavor, randomize):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        model, _, _ = _built(residual, flavor, randomize)
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    assert sft_keras.channel_groups(model).prunable.sum() == 14


def _untraceable(k, call, data=None, weight=False):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = k.layers.Dense(4)
            self.calls = 0
            if weight:
                self.scale = self.add_weight(shape=(4,), name="scale", initializer="ones")

    Net.call = call
    model = Net()
    model(np.ones((2, 4), "float32") if data is None else data)
    return model


def test_call_that_is_not_what_it_was_is_refused(flavor):
    def call(self, x):
        self.calls += 1
        return self.dense(x) * float(self.calls)

    with pytest.raises(UnsupportedError, match=r"'net' is a subclass .*computes something else"):
        sft_keras.channel_groups(_untraceable(flavor, call))


def test_weight_outside_of_the_layers_is_refused(flavor):
    def call(self, x):
        return self.dense(x) * self.scale

    model = _untraceable(flavor, call, weight=True)
    with pytest.raises(UnsupportedError, match=r"'net' is a subclass .* functional API"):
        sft_keras.shrink(model)


def test_call_that_reads_values_is_refused(flavor):
    def call(self, x):
        return self.dense(x) if np.asarray(x).sum() > 0 else x

    with pytest.raises(
        UnsupportedError, match=r"calling it on symbolic inputs fails: .*functional"
    ):
        sft_keras.plan(_untraceable(flavor, call))


def test_call_that_adds_a_loss_is_refused(flavor):
    def call(self, x):
        y = self.dense(x)
        self.add_loss(sum_of(y))
        return y

    def sum_of(y):
        return y[0, 0] * 0.1

    with pytest.raises(UnsupportedError, match=r"'net' is a subclass"):
        sft_keras.shrink(_untraceable(flavor, call))


@pytest.mark.parametrize("drops", [True, False])
def test_call_that_goes_another_way_in_training_is_refused(flavor, drops):
    class Net(flavor.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense, self.drop = flavor.layers.Dense(4), flavor.layers.Dropout(0.5)

        def call(self, x, training=False):
            x = self.dense(x)
            if not training:
                return x
            return self.drop(x, training=training) if drops else x * 0.5

    model = Net()
    model(np.ones((2, 4), "float32"))
    with pytest.raises(UnsupportedError, match=r"another way where `training` is true; rebuild"):
        sft_keras.shrink(model)


def test_call_that_takes_several_arguments_is_refused(flavor):
    class Net(flavor.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = flavor.layers.Dense(4)

        def call(self, a, b):
            return self.dense(a) + self.dense(b)

    model = Net()
    model(np.ones((2, 3), "float32"), np.ones((2, 3), "float32"))
    with pytest.raises(UnsupportedError, match=r"several arguments.*functional API"):
        sft_keras.cost(model)


def test_model_inside_that_cannot_be_traced_freezes_what_enters_it(flavor):
    def call(self, x):
        self.calls += 1
        return self.dense(x) * float(self.calls)

    inner = _untraceable(flavor, call)
    x = flavor.Input((4,))
    model = flavor.Model(x, flavor.layers.Dense(2)(inner(flavor.layers.Dense(4)(x))))
    assert "enters 'net' (Net), which has no channel rule" in str(sft_keras.channel_groups(model))


def test_subclass_that_was_never_built_is_refused(flavor):
    with pytest.raises(UnsupportedError, match=r"'net' .* was never built; call it once on data"):
        sft_keras.shrink(type("Net", (flavor.Model,), {})(name="net"))
