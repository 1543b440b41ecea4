"""Branches, merges, shared layers and gates: masked and shrunk model give the same outputs."""

import pytest

import sft_keras

SHAPE = (8, 9, 3)


def _merge_with(name, activation):
    def build(k):
        x = k.Input(SHAPE)
        a = k.layers.Conv2D(6, 3, activation=activation)(x)
        b = k.layers.Conv2D(6, 3)(x)
        y = getattr(k.layers, name)()([a, b])
        return k.Model(x, k.layers.Conv2D(2, 1)(y)), 6

    return build


def residual(k):
    x = k.Input(SHAPE)
    stem = k.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = stem
    for _ in range(2):
        z = k.layers.Conv2D(5, 3, padding="same", use_bias=False)(y)
        z = k.layers.ReLU()(k.layers.BatchNormalization()(z))
        z = k.layers.BatchNormalization()(k.layers.Conv2D(8, 3, padding="same")(z))
        y = k.layers.ReLU()(k.layers.Add()([y, z]))
    return k.Model(x, k.layers.Dense(2)(k.layers.GlobalAveragePooling2D()(y))), 18


def residual_by_operator(k):
    x = k.Input(SHAPE)
    a = k.layers.Conv2D(8, 3, padding="same")(x)
    b = k.layers.Conv2D(8, 3, padding="same")(a)
    c = k.layers.Conv2D(5, 3)(a + b)
    return k.Model(x, k.layers.Flatten()(k.layers.Conv2D(1, 3)(c)) * 2.0), 13


def squeeze_and_excite(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(8, 3, activation="relu")(x)
    gate = k.layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = k.layers.Conv2D(4, 1, activation="relu")(gate)
    gate = k.layers.Conv2D(8, 1, activation="sigmoid")(gate)
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Multiply()([y, gate]))), 12


def squeeze_and_excite_by_reshape(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(8, 3)(x)
    gate = k.layers.Dense(3, activation="relu")(k.layers.GlobalAveragePooling2D()(y))
    gate = k.layers.Reshape((1, 1, 8))(k.layers.Dense(8, activation="sigmoid")(gate))
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Multiply()([gate, y]))), 11


def spatial_gate(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(6, 3, activation="relu")(x)
    gate = k.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(y)
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Multiply()([gate, y]))), 6


def concatenate_channels(k):
    x = k.Input(SHAPE)
    a = k.layers.Conv2D(6, 3, padding="same", activation="sigmoid")(x)
    b = k.layers.Conv2D(5, 3, padding="same")(x)
    y = k.layers.Concatenate()([a, x, b, a])
    y = k.layers.BatchNormalization()(y)
    return k.Model(x, k.layers.Conv2D(2, 3, padding="same")(y)), 11


def concatenate_then_fold(k):
    x = k.Input(SHAPE)
    a = k.layers.Conv2D(6, 3, activation="sigmoid")(x)
    b = k.layers.Conv2D(5, 3, activation="softplus")(x)
    y = k.layers.Flatten()(k.layers.Concatenate(axis=3)([a, b]))
    return k.Model(x, k.layers.Dense(2)(y)), 11


def concatenate_rows(k):
    x = k.Input(SHAPE)
    a, b = (k.layers.Conv2D(6, 3, activation="relu")(x) for _ in range(2))
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Concatenate(axis=1)([a, b]))), 6


def concatenate_rows_of_different_constants(k):
    x = k.Input(SHAPE)
    a = k.layers.Conv2D(6, 3, activation="relu")(x)
    b = k.layers.Conv2D(6, 3, activation="sigmoid")(x)
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Concatenate(axis=1)([a, b]))), 0


def concatenate_input_then_reshape(k):
    # The reshaped axis holds filters and channels of the input; the last id is a filter's.
    x = k.Input((4, 5, 3))
    y = k.layers.Conv2D(6, 3, padding="same")(x)
    y = k.layers.Reshape((20, 9))(k.layers.Concatenate()([x, y]))
    return k.Model(x, k.layers.Conv1D(2, 3)(y)), 6


def same_tensor_twice(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(6, 3)(x)
    y = k.layers.Concatenate()([y, k.layers.Add()([y, y])])
    return k.Model(x, k.layers.Conv2D(2, 1)(y)), 6


def shared_conv(k):
    x = k.Input(SHAPE)
    a, b = (k.layers.Conv2D(6, 3, activation="relu")(x) for _ in range(2))
    shared, norm = k.layers.Conv2D(5, 3), k.layers.BatchNormalization()
    y = k.layers.Concatenate()([norm(shared(a)), norm(shared(b))])
    return k.Model(x, k.layers.Conv2D(2, 3)(y)), 11


def shared_conv_also_on_input(k):
    x = k.Input(SHAPE)
    shared = k.layers.Conv2D(3, 3, padding="same")
    first = k.layers.Conv2D(3, 3, padding="same")(x)
    y = k.layers.Conv2D(4, 3)(k.layers.Concatenate()([shared(x), shared(first)]))
    return k.Model(x, k.layers.Conv2D(2, 3)(y)), 7  # not `first`: `shared` reads the input too


def shared_norm(k):
    x = k.Input(SHAPE)
    norm = k.layers.BatchNormalization()
    a, b = (norm(k.layers.Conv2D(6, 3)(x)) for _ in range(2))
    return k.Model(x, [k.layers.Conv2D(2, 3)(a), k.layers.Conv2D(2, 1)(b)]), 6


def shared_reshape(k):
    x = k.Input((4, 5, 3))
    reshape = k.layers.Reshape((20, 6))
    a, b = (reshape(k.layers.Conv2D(6, 3, padding="same")(x)) for _ in range(2))
    return k.Model(x, [k.layers.Conv1D(2, 3)(a), k.layers.Conv1D(2, 1)(b)]), 6


def two_inputs_and_outputs(k):
    x, z = k.Input(SHAPE, name="image"), k.Input((4,), name="numbers")
    y = k.layers.Conv2D(6, 3, activation="relu")(x)
    flat = k.layers.GlobalMaxPooling2D()(y)
    w = k.layers.Dense(5, activation="relu")(z)
    first = k.layers.Dense(2, name="first")(k.layers.Concatenate()([flat, w]))
    return k.Model({"z": z, "x": x}, {"b": first, "a": k.layers.Conv2D(2, 1)(y)}), 11


def output_in_the_middle(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(6, 3)(x)
    return k.Model(x, [y, k.layers.Conv2D(2, 1)(k.layers.Conv2D(5, 3)(y))]), 5


def dead_branch(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(6, 3)(x)
    k.layers.Conv2D(7, 3)(y)
    return k.Model(x, k.layers.Conv2D(2, 3)(y)), 6


def middle_of_another_model(k):
    whole, _ = residual(k)
    last = next(x for x in whole.layers if type(x).__name__ == "Add")
    return k.Model(whole.layers[1].output, last.output), 5


def unknown_size(k):
    x = k.Input((None, None, 3))
    y = k.layers.Conv2D(6, 3, activation="relu")(x)
    y = k.layers.UpSampling2D(2)(k.layers.MaxPooling2D(2)(y))
    return k.Model(x, k.layers.Dense(2)(k.layers.GlobalAveragePooling2D()(y))), 6


def fixed_batch(k):
    x = k.Input(batch_shape=(1, 8, 9, 3))
    return k.Model(x, k.layers.Conv2D(2, 3)(k.layers.Conv2D(6, 3)(x))), 6


def before_and_inside_a_nested_model(k):
    x = k.Input(SHAPE)
    inner = k.Sequential([k.Input((6, 7, 4)), k.layers.Conv2D(5, 3)], name="inner")
    y = k.layers.Conv2D(4, 1)(k.layers.Conv2D(6, 3)(x))
    return k.Model(x, k.layers.Conv2D(2, 1)(inner(y))), 15


def functional_in_functional(k):
    a, b = k.Input((6, 7, 4)), k.Input((6, 7, 4))
    c = k.layers.Conv2D(4, 1)(a)
    inner = k.Model([a, b], [k.layers.Add()([c, b]), k.layers.Conv2D(3, 1)(c)], name="inner")
    x = k.Input((6, 7, 4))
    y = k.layers.Conv2D(4, 3, padding="same")(x)
    both = k.layers.Concatenate()(inner([k.layers.BatchNormalization()(y), y]))
    return k.Model(x, k.layers.Conv2D(2, 1)(both)), 7


def nested_twice_deep(k):
    deep = k.Sequential([k.Input((6, 7, 4)), k.layers.Conv2D(5, 1), k.layers.Conv2D(3, 1)])
    inner = k.Sequential([k.Input((6, 7, 4)), deep, k.layers.Conv2D(4, 1, activation="relu")])
    x = k.Input((6, 7, 4))
    return k.Model(x, k.layers.Conv2D(2, 1)(k.layers.Conv2D(6, 1)(inner(x)))), 18


def backbone_used_twice(k):
    backbone = k.Sequential([k.Input((6, 7, 4)), k.layers.Conv2D(5, 3), k.layers.Conv2D(3, 1)])
    a, b = k.Input((6, 7, 4)), k.Input((6, 7, 4))
    y = k.layers.Concatenate()([backbone(a), backbone(b)])
    return k.Model([a, b], k.layers.Conv2D(2, 1)(y)), 8


def backbone_used_behind_itself(k):
    backbone = k.Sequential([k.Input((6, 7, 4)), k.layers.Conv2D(5, 1), k.layers.Conv2D(4, 1)])
    x = k.Input((6, 7, 4))
    y = backbone(backbone(k.layers.Conv2D(4, 1)(x)))
    return k.Model(x, k.layers.Conv2D(2, 1)(y)), 9


def sliced(k):
    x = k.Input(SHAPE)
    y = k.layers.Conv2D(5, 3)(k.layers.Conv2D(6, 3)(x))
    return k.Model(x, k.layers.Conv2D(2, 1)(y[:, 1:, :, :4])), 5 + 6


def gate_along_another_axis(k):
    x = k.Input((4,))
    a = k.layers.Reshape((6, 1))(k.layers.Dense(6)(x))
    b = k.layers.Reshape((1, 5))(k.layers.Dense(5)(x))
    y = k.layers.Flatten()(k.layers.Multiply()([a, b]))
    return k.Model(x, k.layers.Dense(2)(y)), 0


def mask_of_an_embedding(k):
    x = k.Input((7,), dtype="int32")
    y = k.layers.Embedding(5, 4, mask_zero=True)(x)
    y = k.layers.Dense(6, activation="sigmoid")(y)
    return k.Model(x, k.layers.Dense(2)(k.layers.GlobalAveragePooling1D()(y))), 4 + 6


def mask_as_an_argument(k):
    x, mask = k.Input((7, 3)), k.Input((7,), dtype="bool")
    y = k.layers.Conv1D(6, 3, padding="same")(inputs=x)
    y = k.layers.GlobalAveragePooling1D()(y, mask=mask)
    return k.Model([x, mask], k.layers.Dense(2)(y)), 6


def sequence_layers(k):
    x = k.Input((7, 4))
    y = k.layers.Dense(4)(k.layers.Dense(6)(x))
    y = k.layers.MultiHeadAttention(2, 2)(y, y)
    y = k.layers.Conv1D(3, 3)(k.layers.LayerNormalization()(y))
    return k.Model(x, k.layers.Dense(2)(k.layers.Dense(5)(y))), 6 + 4 + 2 + 2 + 2 + 3 + 5


def unregistered_functions(k):
    def double(x):
        return x * 2.0

    class Custom(k.layers.Layer):
        def call(self, x):
            return double(x)

    x = k.Input(SHAPE)
    y = k.layers.Conv2D(5, 3, activation=double)(k.layers.Conv2D(6, 3)(x))
    y = k.layers.Lambda(lambda z: double(z))(k.layers.Activation(double)(y))
    return k.Model(x, k.Sequential([Custom(), k.layers.Conv2D(2, 1)])(y)), 6


GRAPHS = {
    **{
        f"{name.lower()}_{activation}": _merge_with(name, activation)
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
        for activation in ("relu", "sigmoid")
    },
    **{
        function.__name__: function
        for function in (
            residual,
            residual_by_operator,
            squeeze_and_excite,
            squeeze_and_excite_by_reshape,
            spatial_gate,
            concatenate_channels,
            concatenate_then_fold,
            concatenate_rows,
            concatenate_rows_of_different_constants,
            concatenate_input_then_reshape,
            same_tensor_twice,
            shared_conv,
            shared_conv_also_on_input,
            shared_norm,
            shared_reshape,
            two_inputs_and_outputs,
            output_in_the_middle,
            dead_branch,
            middle_of_another_model,
            unknown_size,
            fixed_batch,
            before_and_inside_a_nested_model,
            functional_in_functional,
            nested_twice_deep,
            backbone_used_twice,
            backbone_used_behind_itself,
            sliced,
            gate_along_another_axis,
            mask_of_an_embedding,
            mask_as_an_argument,
            sequence_layers,
            unregistered_functions,
        )
    },
}


@pytest.mark.parametrize("name", GRAPHS)
def test_shrunk_graph_equals_masked_graph(flavor, name, shrink_and_compare):
    model, prunable = GRAPHS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)
