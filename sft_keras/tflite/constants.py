"""Constants of a file as real numbers, and those beside which all other numbers are lost.

A mask of minus a billion sets the range of the tensor it goes into, in which a step is some
millions. `masks` mends that where a softmax follows; elsewhere only who built the model knows which
smaller number does.
"""

import math
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from sft_keras.tflite import schema

Made = Mapping[schema.Tensor, schema.Operator]
LEAST = 5e3  # masks are -1e4 and beyond; offsets of thousands are numbers of their own
FEWEST_STEPS = 8  # numbers in fewer steps are off by a quarter of their deviation
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
JOINING = ("SELECT", "SELECT_V2", "PADV2", "CONCATENATION")  # what they read has one range
QUANTIZED = ("int8", "int16")
LARGEST_OF_MASKS = 1.01  # one, and a step
AT_THE_END = 0.9  # of the range
MOVING = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "BROADCAST_TO", "TILE")


def made_by(file: schema.File) -> Made:
    """The operator that computes each tensor, but for what comes of itself."""
    computed = {tensor for operator in file.operators for tensor in operator.outputs}
    made: dict[schema.Tensor, schema.Operator] = {}
    for operator in file.operators:
        if all(tensor in made or tensor not in computed for tensor in operator.inputs):
            made |= {tensor: operator for tensor in operator.outputs if tensor not in made}
    return made


def has_range(tensor: schema.Tensor, dtypes: Collection[str] = QUANTIZED) -> bool:
    """Whether a tensor has one of these dtypes, and one scale that is a number."""
    return tensor.dtype in dtypes and tensor.scales.size == 1 and 0 < tensor.scales[0] < math.inf


def values(tensor: schema.Tensor) -> np.ndarray | None:
    """The real numbers of a quantized constant.

    Args:
        tensor: of a file.

    Returns:
        An array in its shape; None for what is computed, is not quantized or is not whole.
    """
    if tensor.data is None or not tensor.scales.size or tensor.dtype not in schema.NUMPY_DTYPES:
        return None
    dtype = np.dtype(tensor.dtype)
    if not tensor.data.size or tensor.data.nbytes != math.prod(tensor.shape) * dtype.itemsize:
        return None
    stored = tensor.data.view(dtype).reshape(tensor.shape).astype(float)
    if tensor.scales.size == 1:
        return (stored - _zero_point(tensor)) * float(tensor.scales[0])
    axis = next((a for a in (0, -1) if stored.ndim and stored.shape[a] == tensor.scales.size), None)
    if axis is None:
        return None
    return np.moveaxis(np.moveaxis(stored, axis, -1) * tensor.scales, -1, axis)


def _zero_point(tensor: schema.Tensor) -> int:
    return int(tensor.zero_points[0]) if tensor.zero_points.size else 0


def drowning(operator: schema.Operator, made: Made) -> float | None:
    """A constant in whose range what an operator computes with has hardly a step.

    Args:
        operator: any.
        made: of `made_by`.

    Returns:
        The constant, or None where there is none or the other numbers are still told apart.
    """
    output = operator.outputs[0] if operator.outputs else None
    if output is None or not has_range(output):
        return None
    found = max(_added(operator, made), key=abs, default=0.0)
    if abs(found) < LEAST:
        return None
    width = _width(operator, found, made)
    return found if width < FEWEST_STEPS * float(output.scales[0]) else None


def _added(operator: schema.Operator, made: Made) -> Iterator[float]:
    """Of each constant that goes into the sum or selection: the number farthest from zero."""
    if operator.name in WEIGHTED:
        biases = [t for t in operator.inputs[2:] if t.dtype in ("int32", "int64")]
        yield from (_farthest(bias) for bias in biases)
    if operator.name in JOINING:
        yield from (_farthest(tensor) for tensor in operator.inputs)
    if operator.name in ("ADD", "SUB"):
        yield from (_farthest(tensor) or _masking(tensor, made) for tensor in operator.inputs)


def _farthest(tensor: schema.Tensor) -> float:
    numbers = values(tensor)
    return 0.0 if numbers is None else float(max(numbers.min(), numbers.max(), key=abs))


def _masking(tensor: schema.Tensor, made: Made) -> float:
    """What a mask that is computed adds: a constant times numbers up to one."""
    operator = made.get(tensor)
    while operator is not None and operator.name in MOVING and operator.inputs:
        operator = made.get(operator.inputs[0])
    if operator is None or operator.name != "MUL":
        return 0.0
    masks = [t for t in operator.inputs if t.data is None and low_high(t)[1] < LARGEST_OF_MASKS]
    return max((_farthest(t) for t in operator.inputs), key=abs, default=0.0) if masks else 0.0


def low_high(tensor: schema.Tensor) -> tuple[float, float]:
    """The range of a tensor, infinite where it has none."""
    if not has_range(tensor):
        return -math.inf, math.inf
    limits, zero = np.iinfo(tensor.dtype), _zero_point(tensor)
    scale = float(tensor.scales[0])
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def _width(operator: schema.Operator, constant: float, made: Made) -> float:
    """How far apart the numbers can be that a constant is added to, or stands among."""
    data = [t for t in operator.inputs if t.data is None and t.dtype in QUANTIZED]
    if operator.name in WEIGHTED:
        return _width_of_products(operator, data)
    if operator.name in JOINING:
        return _width_beside(operator, constant, data, made)
    return min((_span(t) for t in data if abs(_masking(t, made)) < LEAST), default=math.inf)


def _width_of_products(operator: schema.Operator, data: list[schema.Tensor]) -> float:
    weights = values(operator.inputs[1])
    if weights is None or not weights.ndim or not data:
        return math.inf
    axis = -1 if operator.name == "DEPTHWISE_CONV_2D" else 0
    sums = np.abs(np.moveaxis(weights, axis, 0)).reshape(weights.shape[axis], -1).sum(1)
    return float(sums.max()) * _span(data[0])


def _width_beside(
    operator: schema.Operator, constant: float, data: list[schema.Tensor], made: Made
) -> float:
    low, high = low_high(operator.outputs[0])
    if not data or abs(constant) < AT_THE_END * max(-low, high):
        return math.inf
    makers = [made.get(tensor) for tensor in data]
    sources = [m.inputs[0] for m in makers if m and m.name == "QUANTIZE" and m.inputs]
    if len(sources) == len(data):
        return max(map(_span, sources))
    return high if constant < 0 else -low  # the other numbers are on the other side of zero


def _span(tensor: schema.Tensor) -> float:
    low, high = low_high(tensor)
    return high - low
