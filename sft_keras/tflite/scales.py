"""The gate's checks of scales: where numbers become others, or a runtime refuses or aborts."""

import math
from collections.abc import Iterator

import numpy as np

from sft_keras.tflite import constants, lookup_tables, schema, targets
from sft_keras.tflite.promise import Promise

# XNNPACK refuses a file with input scale * weight scale / output scale at or above this. Located
# on ai-edge-litert 2.3 by patching output scales: these four operators load at 255 and are refused
# at 256.1; MUL and MEAN load at any ratio, ADD and SUB up to that of SUM_SHIFTS.
XNNPACK_RATIO_LIMIT = 256.0
# Reference kernels and TFLite Micro need scale * 2**26 > 1: 1.5e-8 runs, 1.48e-8 aborts.
SOFTMAX_SCALE = 2.0**-26
COARSE_SCORES = 8.0  # of two scores that differ by one step the lower one gets e**-8
TABLE_ERROR = 0.05  # outputs off by 0.047 of their range lost 4 % of their deviation, by 0.13 13 %
LOGARITHM_ERROR = 0.1  # a softplus of which it is 0.04 lost 13 % of its deviation, of 0.11 31 %
EMPTY_SCALE = 1e-8  # the converter widens an empty range to some 1e-6, which is 4e-9 a step
SUMS = ("ADD", "SUB", "SQUARED_DIFFERENCE")
SUM_SHIFTS = {"int8": 20, "int16": 15}  # bits by which ADD and SUB make inputs larger
SQUARE_SHIFTS = {"int8": 14}  # likewise SQUARED_DIFFERENCE, of the square
MOVING = {
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "REVERSE_V2", "CONCATENATION", "PACK"),
    *("SLICE", "STRIDED_SLICE", "SPLIT", "UNPACK", "GATHER"),
}
WEIGHTED = constants.WEIGHTED


def seen_inputs(file: schema.File, promise: Promise) -> Iterator[str]:
    """Inputs whose range is empty, because the model that was converted never saw data."""
    for tensor in file.subgraphs[0].inputs:
        if tensor.scales.size and tensor.scales.max() <= EMPTY_SCALE:
            yield (
                f"Input '{tensor.name}' has an empty range: call fit() on the quantized model, or "
                "give representative_data= that is not all zero."
            )


def living_layers(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose weights are all zero, so that nothing of the input gets through them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is not None and weights.data is not None and not weights.data.any():
            yield (
                f"{operator} has only zero weights, so its outputs are constant: keep at least one "
                "filter of that layer, or remove the layer."
            )


def kept_ranges(file: schema.File, promise: Promise) -> Iterator[str]:
    """Operators that move numbers as they are into another range, which changes them."""
    for operator in file.operators:
        ranges = {
            (tensor.dtype, *tensor.scales, *tensor.zero_points)
            for tensor in (*_moved(operator), *operator.outputs)
            if tensor.scales.size
        }
        if len(ranges) > 1 and _moved(operator):
            yield (
                f"{operator} moves numbers as they are from one range to another, which changes "
                "them: convert the model again with sft_keras.convert, which rescales them."
            )


def _moved(operator: schema.Operator) -> list[schema.Tensor]:
    """The tensors whose numbers an operator puts out as they are."""
    if operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        # Sequence, state and cell have no constant data; the state is put out at each step.
        return [t for t in operator.inputs if t.data is None][1:2]
    return list(operator.inputs) if operator.name in MOVING else []


def visible_softmax(file: schema.File, promise: Promise) -> Iterator[str]:
    """Softmax on inputs of almost no range, on which reference kernels abort the process."""
    for operator in file.operators:
        if operator.name == "SOFTMAX" and operator.inputs[0].scales.size:
            scale = operator.inputs[0].scales.max()
            if scale <= SOFTMAX_SCALE:
                yield (
                    f"{operator} has an input scale of {scale:.1e}, which aborts TFLite Micro: the "
                    "layers before it give zero only, so train on, or prune less."
                )


def distinct_scores(file: schema.File, promise: Promise) -> Iterator[str]:
    """Softmax on inputs of such a range that most scores are the same number."""
    for operator in file.operators:
        if operator.name == "SOFTMAX" and operator.inputs[0].scales.size:
            scale = operator.inputs[0].scales.max()
            if scale > COARSE_SCORES:
                yield (
                    f"{operator} has an input scale of {scale:.1e}, in which scores cannot be told "
                    "apart: mask them by a constant of 0 and -1e9 that is added to them."
                )


def visible_numbers(file: schema.File, promise: Promise) -> Iterator[str]:
    """Constants, such as masks, in whose range the numbers beside them are lost."""
    made = constants.made_by(file)
    for operator in file.operators:
        constant = constants.drowning(operator, made)
        if constant is not None:
            yield (
                f"{operator} has a constant of {constant:.1e}, in whose range the other numbers "
                "are lost: take one a little beyond them, such as -10 for a mask, or leave that "
                "layer float with layer_dtypes=."
            )


def faithful_tables(file: schema.File, promise: Promise) -> Iterator[str]:
    """Functions in int16 that bend within a step of the table that LiteRT reads them from."""
    if targets.named(promise.target).is_micro:  # it has none of them but RSQRT, which it computes
        return
    made = constants.made_by(file)
    for operator in file.operators:
        ends = (*operator.inputs[:1], *operator.outputs)
        if operator.name not in lookup_tables.FUNCTIONS or len(ends) != 2:
            continue
        if not all(constants.has_range(t, ["int16"]) for t in ends):
            continue
        error = lookup_tables.worst_error(operator, made)
        if error > TABLE_ERROR:
            yield (
                f"{operator} is read from a table in int16, which is off by up to {error:.0%} of "
                "its range because the function bends within a step of its input: leave that "
                "layer float with layer_dtypes=, or keep its input in a smaller range."
            )


def close_logarithms(file: schema.File, promise: Promise) -> Iterator[str]:
    """Logarithms in int8 of numbers so small that half a step of them makes a large difference."""
    made = constants.made_by(file)
    for operator in file.operators:
        ends = (*operator.inputs[:1], *operator.outputs)
        if operator.name != "LOG" or len(ends) != 2:
            continue
        if not all(constants.has_range(t, ["int8"]) for t in ends):
            continue
        source, (low, high) = ends[0], constants.low_high(ends[-1])
        least = max(lookup_tables.least(source, made), math.exp(np.clip(low, -700, 0)))
        error = math.log1p(float(source.scales[0]) / 2 / least) / max(-low, high)
        if error > LOGARITHM_ERROR:
            yield (
                f"{operator} of int8 takes numbers that are small beside a step of its input, so "
                f"that it is off by up to {error:.0%} of its range: leave that layer float with "
                "layer_dtypes=, or keep its input in a smaller range."
            )


def moderate_scales(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose output is so small beside their input and weights that XNNPACK refuses them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is None or weights.dtype != "int8":
            continue
        data = next((t for t in operator.inputs if t.data is None), weights)
        scales = (data.scales, weights.scales, operator.outputs[0].scales)
        if not all(s.size for s in scales):
            continue
        with np.errstate(all="ignore"):  # an output of scale 0 has an infinite ratio
            ratio = float(np.max(scales[0]) * np.max(scales[1]) / np.max(scales[2]))
        if ratio >= XNNPACK_RATIO_LIMIT:
            yield (
                f"{operator} has input scale * weight scale / output scale = {ratio:.0f}, and "
                f"XNNPACK refuses {XNNPACK_RATIO_LIMIT:.0f} and more: its outputs are nearly all "
                "zero, so train on, or prune that layer."
            )


def own_biases(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose bias is in another scale than the products that it is added to.

    For biases of int64, which go with int16: kernels for int8 look themselves.
    """
    for operator in file.operators:
        weights = _weights(operator)
        bias = operator.inputs[-1] if weights is not None else None
        if weights is None or bias is None or bias.dtype != "int64" or bias.data is None:
            continue
        data = next(t for t in operator.inputs if t.data is None)
        products = data.scales * weights.scales if data.scales.size else data.scales
        if bias.scales.size and not np.allclose(bias.scales, products, rtol=1e-2, atol=0):
            yield (
                f"{operator} has a bias in another scale than its weights and input, which changes "
                "it: convert the model again with sft_keras.convert, which rescales it."
            )


def wide_sums(file: schema.File, promise: Promise) -> Iterator[str]:
    """Sums over an axis in the range of what they add up, as the converter writes them in int16."""
    for operator in file.operators:
        if operator.name != "SUM" or operator.outputs[0].dtype != "int16":
            continue
        summed, result = operator.inputs[0], operator.outputs[0]
        if np.prod(summed.shape) > np.prod(result.shape) and summed.scales == result.scales:
            yield (
                f"{operator} has the range of what it adds up, which cuts it off: replace it by a "
                "mean, or convert with dtype='int8'."
            )


def measured_convolutions(file: schema.File, promise: Promise) -> Iterator[str]:
    """Convolutions whose ranges the converter measured on memory that is not the image.

    Its kernel for floats takes one of the image's size for a product of matrices if nothing is
    padded in front, as for a padded kernel of two: tensorflow/lite/kernels/internal/optimized/
    multithreaded_conv.h.
    """
    if not promise.calibrated:
        return
    for operator in file.operators:
        if operator.name != "CONV_2D":
            continue
        image, kernel, result = (
            tuple(t.shape[1:3]) for t in (*operator.inputs[:2], operator.outputs[0])
        )
        if image == kernel and max(image) == 2 and result == image:
            yield (
                f"{operator} has a padded kernel as large as the image, whose ranges the converter "
                "cannot measure: use a kernel of 3 where it is 2, or padding='valid'."
            )


def visible_sums(file: schema.File, promise: Promise) -> Iterator[str]:
    """Sums of almost no range beside what they add up, on which kernels abort the process.

    They bring what they computed to the output's scale by a factor that has to be below one.
    Located by patching output scales: on LiteRT ADD and SQUARED_DIFFERENCE, on TFLite Micro ADD and
    SUB.
    """
    for operator in file.operators:
        if operator.name not in SUMS:
            continue
        output = operator.outputs[0]
        scales = [float(t.scales.max()) for t in operator.inputs if t.scales.size]
        smallest = _smallest_sum(operator.name, output.dtype, 2 * max(scales, default=0))
        if output.scales.size and output.scales.max() <= smallest:
            yield (
                f"{operator} has an output scale of {output.scales.max():.1e}, and at "
                f"{smallest:.1e} and less runtimes abort: its outputs are nearly all zero, so "
                "train on, prune less, or give representative data that reaches it."
            )


def _smallest_sum(name: str, dtype: str, scale: float) -> float:
    """The output scale at which a sum of two numbers of half that scale aborts."""
    if name in ("ADD", "SUB") and dtype in SUM_SHIFTS:
        return scale * 2.0 ** -SUM_SHIFTS[dtype]
    if name == "SQUARED_DIFFERENCE" and dtype in SQUARE_SHIFTS:
        return scale**2 * 2.0 ** -SQUARE_SHIFTS[dtype]
    return -1.0


def _weights(operator: schema.Operator) -> schema.Tensor | None:
    if operator.name not in WEIGHTED:
        return None
    # TRANSPOSE_CONV is (output shape, weights, data, bias), the others (data, weights, bias).
    return operator.inputs[1]
