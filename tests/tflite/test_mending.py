"""Files in which nothing is wrong stay as they are."""

from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite.mending import mended
from sft_keras.tflite.packing import packed


def test_a_file_with_nothing_to_mend_keeps_its_bytes(qat_lite):
    assert mended(qat_lite.content) is qat_lite.content


def test_operators_without_inputs_or_outputs_stay(qat_lite):
    model = schema.ModelT.InitFromPackedBuf(qat_lite.content)
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CALL_ONCE
    code.deprecatedBuiltinCode = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
    model.operatorCodes.append(code)
    for inputs, outputs in ((None, None), ([], []), ([0], []), ([], [0])):
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        model.subgraphs[0].operators.append(operator)
    content = packed(model)
    assert mended(content) is content
