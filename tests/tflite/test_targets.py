"""The lists of operators, held against the schema and the runtimes that they were made from."""

import importlib.util
import subprocess
import sys
from importlib import metadata

import flatbuffers
import pytest
import tflite
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import targets

WHEELS = {
    "litert": ("ai-edge-litert", "2.3.0", "ai_edge_litert"),
    "tflite-runtime-2.14": ("tflite-runtime", "2.14.0", "tflite_runtime"),
}


@pytest.mark.parametrize("name", targets.names())
def test_every_operator_is_in_the_schema(name):
    target = targets.named(name)
    known = set(vars(tflite.BuiltinOperator))
    assert target.operators.keys() <= known
    assert (target.accelerated or set()) <= known
    assert target.versions.keys() <= target.operators.keys()


def of_one_operator(code, version):
    """A file that does nothing, and says that it has an operator."""
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    operator = schema.OperatorCodeT()
    operator.builtinCode, operator.deprecatedBuiltinCode = code, min(code, 127)
    operator.version = version
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.operatorCodes, model.subgraphs, model.signatureDefs = [operator], [graph], []
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


LOADS = """
import pathlib, sys
from {module}.interpreter import Interpreter
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        Interpreter(model_content=path.read_bytes())
    except (ValueError, RuntimeError):
        continue
    print(path.name)
"""


@pytest.mark.parametrize("name", WHEELS)
def test_the_wheel_takes_the_newest_version_and_no_newer(name, tmp_path):
    wheel, version, module = WHEELS[name]
    if importlib.util.find_spec(module) is None or metadata.version(wheel) != version:
        pytest.skip(f"the list is of {wheel} {version}")
    versions = targets.named(name).versions
    for operator, newest in versions.items():
        for tried in (newest, newest + 1):
            content = of_one_operator(getattr(tflite.BuiltinOperator, operator), tried)
            (tmp_path / f"{operator}@{tried}").write_bytes(content)
    # In a process of its own: two runtimes in one process damage each other.
    command = [sys.executable, "-c", LOADS.format(module=module), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {f"{operator}@{v}" for operator, v in versions.items()}
