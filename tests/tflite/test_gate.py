"""Each finding is provoked by one change to the bytes of a file that passes."""

import dataclasses
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tflite
from tflite_mutations import forget_signatures, output_scale, set_operator, set_type, tensor_of

from sft_keras.errors import GateError, UnsupportedError
from sft_keras.quantization import deployment
from sft_keras.tflite import LiteModel, child, convert, gate, runtimes, scales, schema, targets


def test_a_sound_file_passes(qat_lite):
    assert gate.findings(qat_lite) == []
    gate.check(qat_lite)


def test_a_float_island_is_named(mutate):
    lite = mutate(lambda m: set_type(tensor_of(m, 0, "Outputs", 0), tflite.TensorType.FLOAT32))
    found = gate.findings(lite)
    assert len(found) == 2  # the layer that writes it and the one that reads it
    assert all("float32" in finding for finding in found)
    assert "first" in found[0]
    assert "depthwise" in found[1]
    with pytest.raises(GateError, match=r"(?s)first.*depthwise"):
        gate.check(lite)


def test_float_io_is_named(mutate):
    lite = mutate(lambda m: set_type(tensor_of(m, 0, "Inputs", 0), tflite.TensorType.FLOAT32))
    assert any(f.startswith("Input 'image' is float32") for f in gate.findings(lite))
    lite = mutate(lambda m: set_type(tensor_of(m, 5, "Outputs", 0), tflite.TensorType.UINT8))
    assert [f.partition(":")[0] for f in gate.findings(lite)] == ["Output 'head' is uint8"]


def test_an_operator_that_microcontrollers_lack_is_named(mutate):
    lite = mutate(lambda m: set_operator(m, 3, tflite.BuiltinOperator.GELU))
    (finding,) = gate.findings(lite)
    assert "GELU" in finding
    assert "pool" in finding
    assert gate.findings(lite, gate.Promise("float32")) == []  # phones have it


def test_a_kernel_of_microcontrollers_for_floats_alone_is_named(mutate):
    lite = mutate(lambda m: set_operator(m, 3, tflite.BuiltinOperator.EXP))
    (finding,) = gate.findings(lite)
    assert finding.startswith("EXP 'net/")
    assert "in float32 only" in finding
    assert gate.findings(lite, gate.Promise(target="litert")) == []


def words():
    model = keras.Sequential([keras.Input((6,), dtype="int32"), keras.layers.Embedding(9, 4)])
    return model, np.random.default_rng(0).integers(0, 9, (64, 6)).astype("int32")


def normalized():
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.LayerNormalization()])
    return model, np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")


def highest():
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.GlobalMaxPooling1D()])
    return model, normalized()[1]


def lowest():
    sequence = keras.Input((6, 4))
    return keras.Model(sequence, keras.ops.min(sequence, axis=1)), normalized()[1]


def resized():
    layer = keras.layers.UpSampling2D(2, interpolation="bilinear")
    model = keras.Sequential([keras.Input((6, 4, 1)), layer])
    return model, normalized()[1][..., None]


@pytest.mark.parametrize(
    ("name", "make", "target", "other"),
    [
        ("GATHER", words, "tflm", "litert"),
        ("REDUCE_MAX", highest, "tflm", "litert"),
        ("REDUCE_MIN", lowest, "tflm", "litert"),
        ("RESIZE_BILINEAR", resized, "tflm", "litert"),
        ("SQUARED_DIFFERENCE", normalized, "litert", "tflm"),
    ],
)
def test_a_kernel_that_takes_no_int16_is_named(name, make, target, other):
    model, x = make()
    with pytest.raises(GateError, match=rf"{name} .* is int16, and .* in int8 and float32 only"):
        convert(model, x, dtype="int16x8", target=target)
    lite = convert(model, x, dtype="int16x8", target=other)
    values = [lite.quantize_input(x[:2])]
    assert len(runtimes.run(other, lite.content, values)) == 1
    with pytest.raises(child.ChildError):
        runtimes.run(target, lite.content, values)


def tokens(dtype, change=lambda t: t):
    ids = keras.Input((6,), dtype=dtype)
    model = keras.Model(ids, keras.layers.Embedding(9, 4)(change(ids)))
    return model, np.random.default_rng(0).integers(0, 9, (64, 6)).astype(dtype)


def soft():
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.Activation("softsign")])
    return model, normalized()[1]


@pytest.mark.parametrize(
    ("make", "target", "sentence"),
    [
        (lambda: tokens("int64"), "tflm", "GATHER .* int64, which .* use int32, or"),
        (
            lambda: tokens("int32", lambda t: keras.ops.where(t > 3, t, 1)),
            "tflm",
            "SELECT_V2 .* is int32, and .* in int8, int16 and float32 only",
        ),
        (soft, "tflite-runtime-2.14", "DIV .* is int8, and .* in float32 only"),
    ],
    ids=["int64", "int32", "int8"],
)
def test_what_a_target_does_not_take_in_an_int8_file_is_named(make, target, sentence):
    model, x = make()
    with pytest.raises(GateError, match=f"{sentence}.*, or convert with target='litert'"):
        convert(model, x, target=target)
    lite = convert(model, x, target="litert")
    values = [lite.quantize_input(x[:2])]
    assert len(runtimes.run("litert", lite.content, values)) == 1
    with pytest.raises(child.ChildError):
        runtimes.run(target.removesuffix("-2.14"), lite.content, values)


def test_the_way_out_is_what_a_phone_takes(qat_lite):
    narrow, wide = (
        dataclasses.replace(next(qat_lite.file.tensors), dtype=dtype) for dtype in ("int8", "int16")
    )
    ways = {
        ("DIV", narrow): "target='litert'",
        ("LOG", wide): "target='litert'",
        ("ELU", wide): "dtype='int8'",
        ("NEG", narrow): "target='litert'",
        ("SQUARE", wide): "dtype='float32'",
    }
    for (name, read), way_out in ways.items():
        operator = schema.Operator(name, 1, (read,), (read,))
        file = schema.File((schema.Subgraph((read,), (operator,), (), (read,)),), ())
        (found,) = gate.target_kernels(file, gate.Promise(target="tflite-runtime-2.14"))
        assert found.endswith(f", or convert with {way_out}.")


def test_a_sum_in_the_range_of_what_it_adds_up_is_named():
    sequence = keras.Input((6, 4))
    model, x = keras.Model(sequence, keras.ops.sum(sequence, axis=1)), normalized()[1]
    with pytest.raises(GateError, match=r"SUM .* the range of what it adds up"):
        convert(model, x, dtype="int16x8")
    lite = convert(model, x)
    (found,) = runtimes.run("tflm", lite.content, [lite.quantize_input(x)])
    assert np.abs(lite.dequantize_output(found) - x.sum(1)).max() < 0.2


@pytest.mark.parametrize("target", ["tflm", "litert"])
@pytest.mark.parametrize("dtype", list(gate.CHECKS))
def test_operators_without_inputs_or_outputs_are_read(qat_lite, dtype, target, monkeypatch):
    tensor = next(qat_lite.file.tensors)
    handlers = [
        schema.Operator("CALL_ONCE", 1, (), ()),
        schema.Operator("VAR_HANDLE", 1, (), (tensor,)),
        schema.Operator("ASSIGN_VARIABLE", 1, (tensor,), ()),
    ]
    operators = [*qat_lite.file.operators, *handlers]
    monkeypatch.setattr(schema.File, "operators", property(lambda file: iter(operators)))
    found = gate.findings(qat_lite, gate.Promise(dtype, target))
    assert not any(handler.name in finding for handler in handlers for finding in found)


def test_more_tensors_than_a_kernel_of_microcontrollers_joins_are_counted(qat_lite):
    tensor = next(qat_lite.file.tensors)
    operator = schema.Operator("CONCATENATION", 1, (tensor,) * 11, (tensor,))
    (reason,) = gate.unfit(operator, targets.named("tflm"))
    assert "joins 11 tensors, and TFLite Micro 10 at most" in reason
    assert list(gate.unfit(operator, targets.named("litert"))) == []


def test_more_axes_than_a_kernel_of_microcontrollers_takes_are_counted():
    video = keras.Input((3, 4, 4, 2))
    model = keras.Model(video, keras.layers.Cropping3D(((1, 0), (0, 0), (0, 0)))(video))
    x = np.random.default_rng(0).normal(size=(4, 3, 4, 4, 2)).astype("float32")
    with pytest.raises(GateError, match=r"a tensor of 5 axes .* and TFLite Micro 4 at most"):
        convert(model, x)
    lite = convert(model, x, target="litert")
    values = [lite.quantize_input(x)]
    assert runtimes.run("litert", lite.content, values)[0].shape == (4, 2, 4, 4, 2)
    with pytest.raises(child.ChildError, match="should not exceed 4"):
        runtimes.run("tflm", lite.content, values)


SUMS = {
    "ADD int8": (lambda x: x + keras.ops.relu(x), ("litert", "tflm"), 2.0**-20),
    "ADD int16x8": (lambda x: x + keras.ops.relu(x), ("litert", "tflm"), 2.0**-15),
    "SUB int8": (lambda x: x - keras.ops.relu(x), ("tflm",), 2.0**-20),
    "SUB int16x8": (lambda x: x - keras.ops.relu(x), ("tflm",), 2.0**-15),
    "SQUARED_DIFFERENCE int8": (keras.layers.LayerNormalization(), ("litert",), 2.0**-14),
}


@pytest.mark.parametrize("case", SUMS)
def test_sums_are_refused_at_the_scale_at_which_they_abort(case):
    (name, dtype), (function, aborting, factor) = case.split(), SUMS[case]
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    sequence = keras.Input((4,))
    lite = convert(keras.Model(sequence, function(sequence)), x, dtype=dtype)
    place, operator = next((i, op) for i, op in enumerate(lite.file.operators) if op.name == name)
    whole = 2 * max(float(t.scales[0]) for t in operator.inputs)
    limit = factor * (whole**2 if name == "SQUARED_DIFFERENCE" else whole)
    for ratio, aborts in ((1.01, False), (0.99, True)):
        content = bytearray(lite.content)
        output_scale(tflite.Model.GetRootAs(content, 0), place)[:] = ratio * limit
        changed = LiteModel(bytes(content))
        found = list(scales.visible_sums(changed.file, gate.Promise()))
        assert bool(found) == aborts
        for runtime in aborting:
            with pytest.raises(child.ChildError, match="ABRT") if aborts else nullcontext():
                runtimes.run(runtime, changed.content, [changed.quantize_input(x[:2])])


SMALL = keras.layers.Conv2D(3, 2, padding="same")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(SMALL, (2, 2, 3)), (keras.layers.Conv1D(3, 2, padding="same"), (2, 4))],
    ids=["images", "sequences"],
)
def test_padded_kernels_as_large_as_the_image_are_measured_right(layer, shape, monkeypatch):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), layer])
    x = np.random.default_rng(0).normal(size=(64, *shape)).astype("float32")
    lite = convert(model, x)
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    error = lite.dequantize_output(found) - model.predict(x, verbose=0)
    assert np.abs(error).max() < 0.1
    others = [p for p in deployment.DEPLOYED if p.__name__ != "grow_kernels"]
    monkeypatch.setattr(deployment, "DEPLOYED", others)
    with pytest.raises(GateError, match="a padded kernel as large as the image"):
        convert(model, x)


def test_padded_kernels_as_large_as_the_image_are_refused_where_no_pass_sees_them():
    model = keras.Sequential([keras.Input((4, 2, 2, 3)), keras.layers.TimeDistributed(SMALL)])
    x = np.random.default_rng(0).normal(size=(8, 4, 2, 2, 3)).astype("float32")
    with pytest.raises(GateError, match="a padded kernel as large as the image"):
        convert(model, x)


def test_a_custom_operator_is_named(mutate):
    lite = mutate(lambda m: set_operator(m, 3, tflite.BuiltinOperator.CUSTOM))
    for dtype in gate.CHECKS:
        (finding,) = [f for f in gate.findings(lite, gate.Promise(dtype)) if "CUSTOM" in f]
        assert "CUSTOM:" in finding
        assert "pool" in finding


def test_a_dynamic_shape_is_named(mutate):
    def forget_batch(model):
        shape = tensor_of(model, 0, "Inputs", 0)
        view = (
            shape.ShapeSignatureAsNumpy() if shape.ShapeSignatureLength() else shape.ShapeAsNumpy()
        )
        view[0] = -1

    (finding,) = gate.findings(mutate(forget_batch))
    assert "'image' has the dynamic shape [-1, 8, 8, 1]" in finding


def test_a_missing_signature_is_noticed(mutate):
    (finding,) = gate.findings(mutate(forget_signatures))
    assert "no signature" in finding


def test_a_dead_layer_is_named(mutate):
    def kill(model):
        model.Buffers(tensor_of(model, 0, "Inputs", 1).Buffer()).DataAsNumpy().fill(0)

    (finding,) = gate.findings(mutate(kill))
    assert "first" in finding
    assert "only zero weights" in finding


def test_a_model_that_never_saw_data_is_named(mutate):
    def empty(model):
        tensor_of(model, 0, "Inputs", 0).Quantization().ScaleAsNumpy()[:] = 3.9e-9

    (finding,) = gate.findings(mutate(empty))
    assert "'image' has an empty range: call fit()" in finding


def test_a_softmax_that_aborts_tflite_micro_is_named(aborting):
    (finding,) = gate.findings(aborting)
    assert "head" in finding
    assert "aborts TFLite Micro" in finding


@pytest.mark.parametrize("operator", [0, 1, 2, 4])
def test_a_scale_that_xnnpack_refuses_is_named(mutate, operator):
    def shrink_output_scale(ratio):
        def change(model):
            scales = [
                tensor_of(model, operator, "Inputs", i).Quantization().ScaleAsNumpy().max()
                for i in (0, 1)
            ]
            output_scale(model, operator)[:] = np.prod(scales) / ratio

        return change

    (finding,) = gate.findings(mutate(shrink_output_scale(257)))
    assert "= 257" in finding
    assert gate.findings(mutate(shrink_output_scale(255))) == []


def test_all_findings_come_at_once(mutate):
    def spoil(model):
        set_type(tensor_of(model, 0, "Inputs", 0), tflite.TensorType.FLOAT32)
        set_operator(model, 3, tflite.BuiltinOperator.GELU)

    with pytest.raises(GateError) as caught:
        gate.check(mutate(spoil))
    assert len(str(caught.value).splitlines()) == 4  # heading, float operator, input, GELU


def test_an_unknown_dtype_or_target_is_refused(qat_lite):
    with pytest.raises(UnsupportedError, match="int8, int16x8"):
        gate.check(qat_lite, gate.Promise("int3"))
    with pytest.raises(UnsupportedError, match="tflm"):
        targets.named("toaster")


def test_the_operator_lists_use_the_names_of_the_schema():
    assert set(targets.named("tflm").operators) <= set(vars(tflite.BuiltinOperator))
    assert targets.named("tflm").operators["PADV2"] == "AddPadV2"
