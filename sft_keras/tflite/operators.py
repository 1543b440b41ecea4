"""Operators to put into a file, in the object API of the `.tflite` schema."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema


def numbers(of: Any) -> list[int]:
    """The numbers of an operator's inputs, outputs or intermediates; none where it has no list."""
    return [] if of is None else [int(number) for number in of]


def code(model: Any, operator: Any) -> int:
    """The number of an operator's kind in `BuiltinOperator`."""
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def add_code(model: Any, builtin: int, version: int = 1) -> int:
    """Lets a file have operators of a kind; returns their `opcodeIndex`."""
    added = schema.OperatorCodeT()
    added.builtinCode = added.deprecatedBuiltinCode = builtin
    added.version = version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def quantize(model: Any, source: int, target: int, tensor: Any) -> Any:
    """An operator that writes a tensor's numbers in the range of another.

    Args:
        model: a `ModelT`, which gets the operator's code.
        source: the number of the tensor that is read.
        target: the number of the tensor that is written.
        tensor: a `TensorT` of the dtype that both have: int8, uint8 or int16.

    Returns:
        An `OperatorT`.
    """
    version = 1 + (tensor.type == schema.TensorType.INT16)  # as the converter numbers them
    return _operator(model, schema.BuiltinOperator.QUANTIZE, version, source, target)


def duplicate(model: Any, source: int, target: int, tensor: Any) -> Any:
    """An operator that copies a tensor to a place of its own. As `quantize`, of any dtype."""
    if getattr(tensor.quantization, "scale", None) is not None:
        return quantize(model, source, target, tensor)
    operator = _operator(model, schema.BuiltinOperator.CONCATENATION, 1, source, target)
    operator.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    operator.builtinOptions = schema.ConcatenationOptionsT()
    return operator


def _operator(model: Any, builtin: int, version: int, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = add_code(model, builtin, version)
    operator.inputs, operator.outputs = [source], [target]
    return operator
