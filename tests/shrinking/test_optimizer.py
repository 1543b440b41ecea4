"""Training goes on after `shrink` as it would have gone on with the filters held at zero."""

import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.cloning import compiled_copy
from sft_keras.shrinking.cut import Cuts

OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda k: k.optimizers.Adam(1e-2, amsgrad=True),
    "adamw": lambda k: k.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True),
    "rmsprop": lambda k: k.optimizers.RMSprop(1e-3, momentum=0.5, centered=True),
    "schedule": lambda k: k.optimizers.SGD(
        k.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.5
    ),
}
X = np.random.default_rng(0).normal(size=(16, 6, 6, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 16)


def _net(k, **kwargs):
    layers = k.layers
    return k.Sequential(
        [
            k.Input((6, 6, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False, **kwargs),
            layers.BatchNormalization(**kwargs),
            layers.ReLU(**kwargs),
            layers.Conv2D(6, 3, activation="relu", **kwargs),
            layers.Flatten(**kwargs),
            layers.Dense(3, dtype="float32"),
        ]
    )


def _trained(k, randomize, optimizer, **kwargs):
    model = _net(k, **kwargs)
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy", k.metrics.SparseCategoricalAccuracy()])
    randomize(model)
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0, shuffle=False)
    groups = sft_keras.channel_groups(model)
    mask = np.zeros(groups.count, bool)
    for _, classes in groups.producers[:2]:
        mask[classes[::2]] = True
    apply_mask(groups, mask)
    return model, groups, mask


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_next_steps_are_the_same(flavor, name, randomize):
    model, groups, mask = _trained(flavor, randomize, OPTIMIZERS[name](flavor))
    small = sft_keras.shrink(model)
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations) == 4
    for _ in range(3):
        losses = [m.train_on_batch(X, Y, return_dict=True)["loss"] for m in (model, small)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        apply_mask(groups, mask)  # as FilterMask does in every step
    cuts = Cuts(groups, mask)
    for old, new in zip(flavors.weights(model), flavors.weights(small), strict=True):
        np.testing.assert_allclose(cuts.value(old), flavors.to_numpy(new), rtol=2e-3, atol=2e-4)
    assert np.array_equal(read_mask(groups), mask)


def test_compile_settings_are_carried_over(flavor, randomize):
    model, *_ = _trained(flavor, randomize, flavor.optimizers.Adam(3e-3, beta_1=0.8, clipnorm=2.0))
    model.compile(
        flavor.optimizers.Adam(3e-3, beta_1=0.8, clipnorm=2.0),
        loss=model.loss,
        metrics=["accuracy"],
        loss_weights=[0.5],
        steps_per_execution=2,
        run_eagerly=True,
    )
    small = sft_keras.shrink(model)
    assert small.optimizer is not model.optimizer
    assert small.optimizer.get_config() == model.optimizer.get_config()
    assert small.loss is model.loss
    assert small.run_eagerly
    assert flavors.compile_arguments(small)["steps_per_execution"] == 2
    first, second = (m.evaluate(X, Y, verbose=0, return_dict=True) for m in (model, small))
    assert first == pytest.approx(second, rel=1e-5)


def test_model_that_was_not_compiled_stays_so(flavor, randomize):
    model = _net(flavor)
    randomize(model)
    assert not flavors.is_compiled(sft_keras.shrink(model))


def test_loss_scale_is_carried_over(flavor, randomize):
    optimizer = flavor.optimizers.Adam(1e-3)
    wrapper = getattr(flavor.mixed_precision, "LossScaleOptimizer", None)
    optimizer = (wrapper or flavor.optimizers.LossScaleOptimizer)(optimizer)
    model, *_ = _trained(flavor, randomize, optimizer, dtype="mixed_float16")
    small = sft_keras.shrink(model)
    assert type(small.optimizer) is type(model.optimizer)
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations)
    small.fit(X, Y, verbose=0)


def test_state_not_shaped_like_the_weights_starts_afresh_with_a_warning(flavor, randomize, caplog):
    model, *_ = _trained(flavor, randomize, flavor.optimizers.Adafactor(1e-2))
    with caplog.at_level("WARNING"):
        small = sft_keras.shrink(model)
    assert "Adafactor" in caplog.text
    small.fit(X, Y, verbose=0)


def test_optimizer_that_never_stepped(flavor, randomize):
    model = _net(flavor)
    model.compile("adam", "sparse_categorical_crossentropy")
    randomize(model)
    small = sft_keras.shrink(model)
    small.fit(X, Y, verbose=0)
    assert int(small.optimizer.iterations) == 1


def test_legacy_optimizer_of_tf_keras(randomize):
    import tf_keras as k

    model, *_ = _trained(k, randomize, k.optimizers.legacy.SGD(0.1, momentum=0.9))
    small = sft_keras.shrink(model)
    small.fit(X, Y, verbose=0)
    assert type(small.optimizer) is type(model.optimizer)


def _counting(k):
    class Counting(k.metrics.Metric):
        def __init__(self, cut, name="counting"):
            super().__init__(name=name)
            self.cut = cut

        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return self.cut

    return Counting(0.5)


def test_a_metric_that_cannot_be_made_anew_is_left_out_with_a_warning(flavor, randomize, caplog):
    model = _net(flavor)
    randomize(model)
    metrics = [_counting(flavor), "accuracy"]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
    model.fit(X, Y, verbose=0)
    with caplog.at_level("WARNING"):
        small = sft_keras.shrink(model)
    assert caplog.text.count("Metric 'counting' cannot be made anew") == 1
    found = small.evaluate(X, Y, verbose=0, return_dict=True)
    assert set(found) == {"loss", "accuracy"}


def test_metrics_of_other_outputs_stay_with_them(flavor, caplog):
    x = flavor.Input((4,))
    heads = [flavor.layers.Dense(1, name=name)(x) for name in ("a", "b")]
    model = flavor.Model(x, heads)
    for metrics in ([[_counting(flavor)], ["mae"]], {"a": _counting(flavor), "b": ["mae"]}):
        model.compile("adam", "mse", metrics=metrics)
        copy = compiled_copy(model)
        data = np.ones((4, 4)), [np.ones((4, 1)), np.ones((4, 1))]
        found = copy.evaluate(*data, verbose=0, return_dict=True)
        (name,) = (name for name in found if "loss" not in name)
        assert name.startswith("b_m")


def test_a_metric_of_a_lambda_does_not_stop_shrink(flavor, randomize):
    model = _net(flavor)
    randomize(model)
    mean = flavor.metrics.MeanMetricWrapper(lambda y, z: z[:, 0], name="first")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[mean])
    model.fit(X, Y, verbose=0)
    small = sft_keras.shrink(model)
    found = small.evaluate(X, Y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(model.evaluate(X, Y, verbose=0)[0], abs=1e-4)


def test_names_left_out_of_weight_decay_stay_so(flavor, randomize):
    optimizer = flavor.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "bias"])
    model, *_ = _trained(flavor, randomize, optimizer)
    model.fit(X, Y, verbose=0)
    small = sft_keras.shrink(model)
    assert small.optimizer is not optimizer
    assert decayed(small.optimizer, small) == {"kernel", "beta"}


def decayed(optimizer, model):
    """Names of the variables that shrink in a step without gradients."""
    variables = model.trainable_variables
    for slot in optimizer.variables[2:]:
        slot.assign(np.zeros(slot.shape))
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    zeros = [flavors.to_tensor(np.zeros(v.shape, "float32"), model) for v in variables]
    optimizer.apply_gradients(zip(zeros, variables, strict=True))
    names = {v.name.split("/")[-1].partition(":")[0]: flavors.to_numpy(v) for v in variables}
    return {name for name, value in names.items() if (value < 1).any()}


def test_variables_left_out_of_weight_decay_by_a_list_are_said(flavor, randomize, caplog):
    model = _net(flavor)
    randomize(model)
    optimizer = flavor.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[model.trainable_variables[0]])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    with caplog.at_level("WARNING"):
        sft_keras.shrink(model)
    assert caplog.text.count("Optimizer AdamW") == 1
    assert "exclude_from_weight_decay(var_names=...)" in caplog.text


def test_the_product_of_nadam_stays(randomize):
    model, *_ = _trained(tf_keras, randomize, tf_keras.optimizers.Nadam())
    small = sft_keras.shrink(model)
    (old,), (new,) = (flavors.unlisted_variables(x.optimizer) for x in (model, small))
    assert 0 < float(new.numpy()) == float(old.numpy()) < 0.5


def test_a_legacy_optimizer_starts_afresh_and_says_so(randomize, caplog):
    model, *_ = _trained(tf_keras, randomize, tf_keras.optimizers.legacy.Adam())
    with caplog.at_level("WARNING"):
        small = sft_keras.shrink(model)
    assert "The state of optimizer Adam is of tf_keras' legacy kind: reset." in caplog.text
    assert int(small.optimizer.iterations) == 0
