"""Each function of `flavors`, on both Kerases: fails when a private attribute of either changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from sft_keras import flavors
from sft_keras.constraints import FilterMask
from sft_keras.errors import UnsupportedError


def _functional(k):
    x = k.Input((4,), name="x")
    dense = k.layers.Dense(4, name="dense")
    y = k.layers.Add(name="add")([dense(x), dense(dense(x))])
    return k.Model({"in": x}, {"out": y * 2.0, "middle": dense(y)}, name="net")


def _sequential(k):
    return k.Sequential([k.Input((4,)), k.layers.Dense(3, name="dense")], name="seq")


def test_library_and_kind_of_each_object(flavor):
    model = _sequential(flavor)
    things = [model, model.layers[0], flavor.optimizers.Adam(), flavor.metrics.Mean()]
    is_tf_keras = flavor.__name__ == "tf_keras"
    assert [flavors.is_tf_keras(x) for x in things] == [is_tf_keras] * 4
    assert all(flavors.library(x) is flavor for x in things)
    assert flavors.is_model(model)
    assert not flavors.is_model(model.layers[0])


@pytest.mark.parametrize("make", [_functional, _sequential])
def test_calls_go_from_inputs_to_outputs(flavor, make):
    model = make(flavor)
    seen = set()
    for call in flavors.calls(model):
        assert flavors.is_input_layer(call.layer) == (not call.inputs)
        assert {id(x) for x in call.inputs} <= seen
        seen |= {id(x) for x in call.outputs}
    assert {id(x) for x in flavors.inputs(model) + flavors.outputs(model)} <= seen


def test_every_call_of_a_shared_layer_is_seen(flavor):
    names = [call.layer.name for call in flavors.calls(_functional(flavor))]
    assert names.count("dense") == 4
    assert names.count("add") == 1


def test_operators_are_told_from_layers(flavor):
    calls = list(flavors.calls(_functional(flavor)))
    operators = [call.layer for call in calls if flavors.is_operator(call.layer)]
    assert [flavors.operator_name(x) for x in operators] == ["multiply"]


def test_producer_of_a_tensor(flavor):
    model = _sequential(flavor)
    assert flavors.producer(flavors.outputs(model)[0]) is model.layers[-1]
    assert flavors.is_symbolic(flavors.outputs(model)[0])
    assert not flavors.is_symbolic(np.zeros(3))


def test_structures_keep_their_keys(flavor):
    model = _functional(flavor)
    assert set(flavors.input_structure(model)) == {"in"}
    assert set(flavors.output_structure(model)) == {"out", "middle"}


@pytest.mark.parametrize("make", [_functional, _sequential])
def test_rebuild_makes_an_equal_model_with_fresh_variables(flavor, make):
    model = make(flavor)
    copy = flavors.rebuild(model, flavors.fresh)
    copy.set_weights(model.get_weights())
    assert type(copy) is type(model)
    assert copy.name == model.name
    assert not {id(w) for w in flavors.weights(copy)} & {id(w) for w in flavors.weights(model)}
    x = np.ones((2, 4), "float32")
    x = {"in": x} if make is _functional else x
    expected, got = model.predict(x, verbose=0), copy.predict(x, verbose=0)
    if make is _functional:
        assert set(got) == {"out", "middle"}
        expected, got = expected["out"], got["out"]
    np.testing.assert_allclose(expected, got)


def test_rebuild_can_change_calls(flavor):
    def call_twice(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        return layer(y) if layer.name == "square" else y

    x = flavor.Input((3,))
    model = flavor.Model(x, flavor.layers.Dense(3, name="square", use_bias=False)(x))
    copy = flavors.rebuild(model, flavors.fresh, call_twice)
    copy.set_weights([np.eye(3) * 3])
    np.testing.assert_allclose(copy(np.ones((1, 3), "float32")), np.full((1, 3), 9.0))


def test_all_outputs(flavor):
    model = _functional(flavor)
    values = flavors.with_all_outputs(model)({"in": np.ones((2, 4), "float32")})
    assert len(values) == sum(len(call.outputs) for call in flavors.calls(model))


def test_models_without_a_graph_are_refused(flavor):
    class Subclassed(flavor.Model):
        pass

    for model, reason in (
        (Subclassed(name="mine"), "'mine' is a subclass"),
        (flavor.Sequential([flavor.layers.Dense(2)]), "was never built"),
        (flavor.layers.Dense(2), "got Dense"),
    ):
        with pytest.raises(UnsupportedError, match=reason):
            flavors.require_graph(model)


def test_compile_arguments_compile_another_model_alike(flavor):
    model = _sequential(flavor)
    assert not flavors.is_compiled(model)
    mean = flavor.metrics.MeanAbsoluteError(name="other")
    model.compile(flavor.optimizers.SGD(0.25), "mse", metrics=["mae", mean], steps_per_execution=3)
    assert flavors.is_compiled(model)
    given = flavors.compile_arguments(model)
    assert given["loss"] == "mse"
    assert given["steps_per_execution"] == 3
    assert {"jit_compile", "run_eagerly", "loss_weights", "weighted_metrics"} <= set(given)
    assert given["optimizer"] is not model.optimizer
    assert float(given["optimizer"].learning_rate) == 0.25
    assert given["metrics"][0] == "mae"
    assert given["metrics"][1] is not mean
    other = _sequential(flavor)
    other.compile(**given)
    other.fit(np.zeros((4, 4)), np.zeros((4, 3)), verbose=0)


def test_what_weight_decay_leaves_out_is_told(flavor, caplog):
    model = _sequential(flavor)
    model.layers[-1].bias.assign(np.ones(3))
    optimizer = flavor.optimizers.AdamW(0.1, weight_decay=0.5)
    for how in ({"var_names": ["bias", "b.t"]}, {"var_list": [model.layers[-1].bias]}):
        optimizer.exclude_from_weight_decay(**how)
        model.compile(optimizer, "mse")
        assert not caplog.text
        other = _sequential(flavor)
        other.compile(**flavors.compile_arguments(model))
        other.set_weights(model.get_weights())
        other.fit(np.zeros((4, 4)), np.ones((4, 3)), verbose=0)  # without gradients
        kernel, bias = (np.abs(w) for w in other.get_weights())
        assert (kernel < np.abs(model.get_weights()[0])).all()
        assert (bias == 1).all() == ("var_names" in how)
    assert "Optimizer AdamW" in caplog.text


def test_optimizer_is_built_by_the_first_step(flavor):
    model = _sequential(flavor)
    model.compile(flavor.optimizers.Adam(), "mse")
    assert not flavors.is_built(flavor.optimizers.Adam())
    model.fit(np.zeros((4, 4)), np.zeros((4, 3)), verbose=0)
    assert flavors.is_built(model.optimizer)


def test_penalty_acts_while_attached(flavor):
    model = _sequential(flavor)
    layer = model.layers[-1]
    model.compile(flavor.optimizers.SGD(0.0), "mse", run_eagerly=True)
    x, y = np.zeros((4, 4), "float32"), np.zeros((4, 3), "float32")
    plain = model.evaluate(x, y, verbose=0)
    detach = flavors.attach_penalty(layer, layer.kernel, lambda w: 0.0 * w[0, 0] + 7.0)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(plain + 7.0)
    detach()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(plain)


def test_constraint_acts_while_attached(flavor):
    model = _sequential(flavor)
    kernel = model.layers[-1].kernel
    model.compile(flavor.optimizers.SGD(0.1), "mse", run_eagerly=True)
    x, y = np.ones((4, 4), "float32"), np.ones((4, 3), "float32")
    detach = flavors.attach_constraint(kernel, FilterMask([0, 0, 0]))
    model.fit(x, y, verbose=0)
    assert not flavors.to_numpy(kernel).any()
    detach()
    model.fit(x, y, verbose=0)
    assert flavors.to_numpy(kernel).any()


def test_arrays_to_tensors_and_back(flavor):
    layer = flavor.layers.ReLU()
    value = np.array([[-1.0, 0.1]])
    result = flavors.to_numpy(flavor.activations.relu(flavors.to_tensor(value, layer)))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[0.0, 0.1]])
    variable = _sequential(flavor).layers[-1].kernel
    assert flavors.to_numpy(variable).shape == (4, 3)


def test_a_loss_gives_all_its_arguments(flavor):
    losses = flavor.losses
    assert flavors.loss_config(losses.Huber(delta=0.5))["delta"] == 0.5
    smooth = losses.CategoricalCrossentropy(label_smoothing=0.1)
    assert flavors.loss_config(smooth)["label_smoothing"] == 0.1


def test_subclassed_model_is_traced_over_its_own_variables(flavor):
    class Net(flavor.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = flavor.layers.Dense(3)

        def call(self, x, training=False):
            return {"y": self.dense(x["a"]) + x["b"]}

    model = Net()
    model({"a": np.zeros((2, 4), "float32"), "b": np.zeros((2, 3), "float32")})
    view = flavors.as_graph(model)
    assert flavors.is_graph(view)
    assert not flavors.is_graph(model)
    assert set(flavors.input_structure(view)) == {"a", "b"}
    assert set(flavors.output_structure(view)) == {"y"}
    assert [x.shape[0] for x in flavors.inputs(view)] == [None, None]
    assert [id(w) for w in flavors.weights(view)] == [id(w) for w in model.weights]
    functional = _functional(flavor)
    assert flavors.as_graph(functional) is functional


def test_random_inputs_have_structure_and_dtype_of_the_models(flavor):
    assert flavors.random_inputs(_functional(flavor), batch=5)["in"].shape == (5, 4)
    x = flavor.Input((None,), dtype="int32")
    model = flavor.Model(x, flavor.layers.Embedding(2, 3)(x))
    sample = flavors.random_inputs(model)
    assert sample.dtype == "int32"
    assert set(np.unique(sample)) == {0, 1}


def test_arguments_of_a_recurrent_call(flavor):
    x, h, c = flavor.Input((4, 2)), flavor.Input((3,)), flavor.Input((3,))
    mask = flavor.Input((4,), dtype="bool")
    layers = [flavor.layers.LSTM(3), flavor.layers.Bidirectional(flavor.layers.GRU(3))]
    for layer in layers:
        y = layer(x, initial_state=[h, c], mask=mask)
        calls = flavors.calls(flavor.Model([x, h, c, mask], y))
        found = flavors.sequence_arguments(next(call for call in calls if call.layer is layer))
        assert found.sequence.shape[1:] == (4, 2)
        assert [tensor.shape[1:] for tensor in found.states] == [(3,), (3,)]
        assert [tensor.shape[1:] for tensor in found.others] == [(4,)]


def test_an_initial_state_may_be_an_array(flavor):
    x = flavor.Input(batch_shape=(2, 4, 2))
    layer = flavor.layers.GRU(3)
    state = flavors.to_tensor(np.ones((2, 3), "float32"), layer)
    calls = flavors.calls(flavor.Model(x, layer(x, initial_state=[state])))
    found = flavors.sequence_arguments(next(call for call in calls if call.layer is layer))
    assert [tuple(array.shape) for array in found.states] == [(2, 3)]
    assert not flavors.is_symbolic(found.states[0])


def test_states_of_all_stateful_layers(flavor):
    layers = flavor.layers
    x = flavor.Input(batch_shape=(2, 4, 2))
    cells = [layers.GRUCell(3), layers.LSTMCell(5)]
    inner = layers.RNN(cells, stateful=True, return_sequences=True)
    y = flavor.Sequential([flavor.Input(batch_shape=(2, 4, 2)), inner])(x)
    y = layers.Bidirectional(layers.GRU(4, stateful=True))(layers.LSTM(6, return_sequences=True)(y))
    model = flavor.Model(x, y)
    shapes = [(2, 3), (2, 5), (2, 5), (2, 4), (2, 4)]
    assert [tuple(v.shape) for v in flavors.states(model)] == shapes
    count = len(model.weights)
    assert [id(v) for v in flavors.variables(model)[:count]] == [id(v) for v in model.weights]
    assert len(flavors.variables(model)) == count + 5


def test_wrappers_are_made_of_their_parts(flavor):
    layers = flavor.layers
    dense, gru = layers.Dense(2), layers.GRU(2, name="gru")
    each, both = layers.TimeDistributed(dense), layers.Bidirectional(gru, name="both")
    stack = layers.RNN([layers.GRUCell(2), layers.LSTMCell(2)])
    assert flavors.parts(each) == {"layer": dense}
    assert [x.name for x in flavors.parts(both).values()] == ["forward_gru", "backward_gru"]
    assert flavors.parts(stack) == {"cell": stack.cell}
    assert flavors.parts(stack.cell) == {"cells": list(stack.cell.cells)}
    assert flavors.parts(dense) == flavors.parts(gru) == {}
    made = {key: flavors.fresh(part) for key, part in flavors.parts(both).items()}
    copy = flavors.assemble(both, both.get_config(), made)
    assert copy.name == "both"
    assert [x.name for x in flavors.parts(copy).values()] == ["forward_gru", "backward_gru"]
    assert copy.backward_layer.go_backwards


def test_shapes_of_recurrent_layers(flavor):
    x = flavor.Input((4, 2))
    layer = flavor.layers.LSTM(3, return_sequences=True, return_state=True)
    layer(x)
    assert flavors.output_shape(layer, x) == (None, 4, 3)
    both = flavor.layers.Bidirectional(flavor.layers.GRU(3))
    assert flavors.directions_may_differ(both) == (flavor.__name__ == "tf_keras")


def test_regularizer_of_a_variable_inside_a_layer(flavor):
    penalties = [flavor.regularizers.L1(0.1), flavor.regularizers.L2(0.1)]
    kernels = dict(zip(("kernel_regularizer", "recurrent_regularizer"), penalties, strict=True))
    layer = flavor.layers.LSTM(3, **kernels)
    flavor.Sequential([flavor.Input((4, 2)), layer])
    cell = layer.cell
    assert flavors.regularizer(layer, cell.kernel) is penalties[0]
    assert flavors.regularizer(layer, cell.recurrent_kernel) is penalties[1]
    assert flavors.regularizer(layer, cell.bias) is None


def test_random_inputs_keep_a_fixed_batch_size(flavor):
    x = flavor.Input(batch_shape=(3, 4))
    assert flavors.random_inputs(flavor.Model(x, flavor.layers.Dense(2)(x)), batch=5).shape[0] == 3


def _of_operators(k):
    """Slice, split and shift of one tensor: arguments in the call, in the config, by position."""
    x = k.Input((4, 6), name="x")
    if k.__name__ == "keras":
        ops = k.ops
        parts = ops.split(x[:, 1:, ..., ::2], (1,), axis=-1)
        shape = ops.reshape(parts[1], (-1, 6))
    else:
        parts = tf.split(x[:, 1:, ..., ::2], [1, 2], axis=-1)
        shape = tf.reshape(parts[1], (-1, 6))
    return k.Model(x, [3.0 - parts[0], shape])


def _by_operator(model):
    calls = [call for call in flavors.calls(model) if flavors.is_operator(call.layer)]
    return {flavors.operator_name(call.layer): call for call in calls}


def test_operators_of_both_have_the_same_names_and_arguments(flavor):
    calls = _by_operator(_of_operators(flavor))
    assert set(calls) == {"getitem", "split", "reshape", "subtract"}
    key = (slice(None), slice(1, None), Ellipsis, slice(None, None, 2))
    assert flavors.arguments(calls["getitem"])["key"] == key
    given = flavors.arguments(calls["split"])
    assert given["axis"] == -1
    # Where to split in Keras 3, sizes in TensorFlow.
    is_tf_keras = flavor.__name__ == "tf_keras"
    assert list(given["indices_or_sections"]) == ([1, 2] if is_tf_keras else [1])
    assert flavors.arguments(calls["reshape"])["shape" if is_tf_keras else "newshape"] == (-1, 6)


def test_defaults_are_among_the_arguments():
    x = tf_keras.Input((4, 6))
    call = _by_operator(tf_keras.Model(x, tf.nn.softmax(x)))["softmax"]
    assert flavors.arguments(call)["axis"] is None


def test_changed_arguments_go_where_the_call_takes_them(flavor):
    calls = _by_operator(_of_operators(flavor))
    key = (slice(None), slice(2, 3))
    args, kwargs = flavors.with_arguments(calls["getitem"], {"key": key})
    assert args[0] is calls["getitem"].args[0]
    assert calls["getitem"].layer.call(np.ones((2, 4, 6)), *args[1:], **kwargs).shape == (2, 1, 6)
    args, kwargs = flavors.with_arguments(
        calls["split"], {"indices_or_sections": [2, 1], "axis": 1}
    )
    if flavor.__name__ == "tf_keras":
        assert (args[1], kwargs["axis"]) == ([2, 1], 1)
    else:  # they are in the config, not in the call
        assert len(args) == 1
        assert flavors.config(calls["split"].layer)["axis"] == -1


def test_operators_run_on_other_values(flavor):
    calls = _by_operator(_of_operators(flavor))
    (made,) = flavors.run(calls["subtract"], [np.array([[1.0, 0.1]])])
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, [[2.0, 2.9]])
    parts = flavors.run(calls["split"], [np.arange(12, dtype="int32").reshape(2, 2, 3)])
    assert [part.shape for part in parts] == [(2, 2, 1), (2, 2, 2)]
    with pytest.raises(UnsupportedError, match="cannot be run"):
        flavors.run(calls["reshape"], [np.zeros((1, 5))])


def test_operators_know_their_consumers(flavor):
    calls = _by_operator(_of_operators(flavor))
    names = [flavors.operator_name(call.layer) for call in flavors.consumers(calls["split"])]
    assert sorted(names) == ["reshape", "subtract"]


def test_arrays_variables_and_tensors_of_the_graph_are_told_apart(flavor):
    model = _sequential(flavor)
    symbolic, variable = flavors.inputs(model)[0], model.layers[-1].kernel
    tensor = flavors.to_tensor(np.zeros(2), model)
    assert [flavors.is_array(x) for x in (symbolic, variable, tensor, 1.0)] == [0, 1, 1, 0]
    assert [flavors.is_variable(x) for x in (symbolic, variable, tensor, 1.0)] == [0, 1, 0, 0]


def test_arguments_in_another_precision(flavor):
    x = flavor.Input((2,))
    model = flavor.Model(x, x * np.ones(2, "float32"))
    (call,) = _by_operator(model).values()
    args, kwargs = flavors.arguments_in("float64", call)
    (array,) = [x for x in [*args, *kwargs.values()] if flavors.is_array(x)]
    assert array.dtype == np.float64


def test_config_of_an_operation_that_cannot_be_saved():
    x = keras.Input((4,))
    model = keras.Model(x, keras.ops.reshape(x, (-1, np.int64(2), 2)))
    operator = flavors.producer(flavors.outputs(model)[0])
    assert flavors.config(operator)["newshape"] == (-1, 2, 2)


@pytest.mark.parametrize("make", [_functional, _sequential])
def test_terms_of_the_loss_come_and_go_in_any_order(flavor, make):
    model = make(flavor)
    plain = type(model).compute_loss
    first, second = (flavors.attach_loss(model, lambda x, y_pred, weight: 1.0) for _ in range(2))
    assert len(model.compute_loss.terms) == 2
    first()
    first()
    assert len(model.compute_loss.terms) == 1
    second()
    assert model.compute_loss.__func__ is plain


def test_losses_of_outputs_by_name_by_position_and_for_all(flavor):
    model = _functional(flavor)
    for loss, expected in (
        ("mse", ["mse", "mse"]),
        ({"out": "mae", "middle": "mse"}, ["mse", "mae"]),  # dictionaries are sorted by key
        ({"out": "mae"}, [None, "mae"]),
    ):
        model.compile("sgd", loss)
        assert flavors.output_losses(model) == expected
    x = flavor.Input((4,))
    dense = [flavor.layers.Dense(1, name=name)(x) for name in ("b", "a")]
    model = flavor.Model(x, dense)
    for loss in (["mae", "mse"], {"a": "mse", "b": "mae"}):
        model.compile("sgd", loss)
        assert flavors.output_losses(model) == ["mae", "mse"]


def test_a_train_step_of_the_users_own_is_seen(flavor):
    class Own(flavor.Model):
        def train_step(self, data):
            return super().train_step(data)

    assert flavors.trains_by_its_loss(_functional(flavor))
    assert not flavors.trains_by_its_loss(Own())


def test_student_of_a_distiller_and_of_none():
    pair = [_sequential(keras) for _ in range(2)]
    distiller = keras.distillation.Distiller(*pair, keras.distillation.LogitsDistillation())
    assert flavors.student(distiller) is pair[1]
    assert flavors.student(pair[0]) is pair[0]
    flavors.attach_own_losses(pair[0])()
    assert "compute_loss" not in vars(pair[0])


def test_a_call_was_given_what_its_author_wrote(flavor):
    x = flavor.Input((4,), dtype="int32")
    y = flavor.layers.Embedding(3, 2, mask_zero=True)(x)
    model = flavor.Model(x, flavor.layers.LSTM(2, name="lstm")(flavor.layers.Dropout(0.1)(y)))
    (call,) = (c for c in flavors.calls(model) if c.layer.name == "lstm")
    assert flavors.has_mask(call.args[0])
    assert flavors.mask(x) is None
    args, kwargs = flavors.given(call)
    assert args == call.args
    assert kwargs == {}


def test_a_mask_of_its_own_is_given(flavor):
    x, mask = flavor.Input((4, 2)), flavor.Input((4,), dtype="bool")
    model = flavor.Model([x, mask], flavor.layers.LSTM(2, name="lstm")(x, mask=mask))
    (call,) = (c for c in flavors.calls(model) if c.layer.name == "lstm")
    assert flavors.given(call)[1]["mask"] is mask


def test_rename():
    layer = tf_keras.layers.Dense(2)
    flavors.rename(layer, "other")
    assert layer.name == "other"


def test_all_operands_of_einsum():
    x = keras.Input((4,))
    model = keras.Model(x, keras.ops.einsum("ab,ab->a", x, x))
    call = list(flavors.calls(model))[-1]
    assert len(flavors.arguments(call)["operands"]) == 2
    assert flavors.dtype_name(x) == "float32"
