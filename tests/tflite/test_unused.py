"""What nothing refers to goes; what is left computes the same."""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import LiteModel, runtimes, unused
from sft_keras.tflite.packing import packed


def test_unused_tensors_buffers_and_codes_go(qat_lite):
    model = schema.ModelT.InitFromPackedBuf(qat_lite.content)
    (graph,) = model.subgraphs
    used = {operator.opcodeIndex for operator in graph.operators}
    counts = len(graph.tensors), len(used)
    # In front of the others, so that all have to be renumbered.
    extra = copy.copy(graph.tensors[0])
    extra.name, extra.buffer = b"extra", 1
    graph.tensors.insert(0, extra)
    model.buffers.insert(1, schema.BufferT())
    model.operatorCodes.insert(0, copy.copy(model.operatorCodes[0]))
    for tensor in graph.tensors[1:]:
        tensor.buffer += tensor.buffer > 0
    for metadata in model.metadata or ():
        metadata.buffer += 1
    for operator in graph.operators:
        operator.opcodeIndex += 1
        operator.inputs = [i + 1 if i >= 0 else i for i in operator.inputs]
        operator.outputs = [i + 1 for i in operator.outputs]
    graph.inputs, graph.outputs = ([i + 1 for i in x] for x in (graph.inputs, graph.outputs))
    for signature in model.signatureDefs:
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex += 1
    unused.remove(model)
    assert (len(graph.tensors), len(model.operatorCodes)) == counts
    holders = [*graph.tensors, *(model.metadata or ())]
    assert {0, *(x.buffer for x in holders)} == set(range(len(model.buffers)))
    lite = LiteModel(packed(model))
    assert repr(lite.inputs) == repr(qat_lite.inputs)
    x = [np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 1)).astype("int8")]
    (found,), (expected,) = (runtimes.run("litert", f.content, x) for f in (lite, qat_lite))
    assert np.array_equal(found, expected)
