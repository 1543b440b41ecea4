"""The lists of operators, held against the schema and the runtimes that they were made from."""

import importlib.util
import subprocess
import sys
from importlib import metadata

import flatbuffers
import numpy as np
import pytest
import tflite
from ai_edge_litert import schema_py_generated as schema
from one_operator import FORMS, PADS, SHAPE, file_of, int32

import sft_keras
from sft_keras.tflite import LiteModel, child, gate, runtimes, targets
from sft_keras.tflite import schema as files

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


HOSTS = {"litert": "litert", "tflite-runtime-2.14": "tflite-runtime", "tflm": "tflm"}
"""Targets with a table of kernels, each with the runtime that it was made from."""
UNTAKEN = sorted(
    {
        (operator, dtype)
        for name in HOSTS
        for dtype, operators in targets.named(name).untaken.items()
        for operator in operators
    }
)


def required(name):
    if not runtimes.named(HOSTS[name]).available():
        pytest.skip(f"{HOSTS[name]} is not installed")


@pytest.mark.parametrize("name", HOSTS)
def test_every_kernel_that_a_target_lacks_is_named(name):
    target = targets.named(name)
    for dtype, operators in target.untaken.items():
        assert list(operators) == sorted(set(operators))
        assert set(operators) <= target.operators.keys()
        tensor = files.Tensor(0, "x", (1, 4), dtype, np.ones(1), np.zeros(1), None)
        for operator in operators:
            record = files.Operator(operator, 1, (tensor,), (tensor,))
            (reason,) = gate.unfit(record, target)
            assert reason.startswith(f"{operator} 'x' ")
            assert dtype in reason
            assert target.title in reason


RUNS = """
import pathlib, sys
import numpy as np
from sft_keras.tflite import runtimes, schema
load = runtimes.named(sys.argv[1]).load
for path in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    inputs = schema.read(path.read_bytes()).subgraphs[0].inputs
    try:
        load(path.read_bytes())([np.ones(tensor.shape, tensor.dtype) for tensor in inputs])
    except (ValueError, RuntimeError):
        continue
    print(path.name)
"""


def runs(lite, name):
    """Whether `check` finds nothing, but that some numbers are off in what does run."""
    findings = sft_keras.check(lite, name).findings
    return not any(x.stops and "off by up to" not in x.text for x in findings)


@pytest.mark.parametrize("name", HOSTS)
def test_the_runtime_runs_what_is_not_named_and_nothing_else(name, tmp_path):
    required(name)
    known = FORMS.keys() & targets.named(name).operators.keys()
    floats = {(operator, "float32") for operator in known}
    lites = {
        f"{operator}@{dtype}": LiteModel(file_of(operator, dtype))
        for operator, dtype in {*UNTAKEN, *floats}
        if operator in known
    }
    for key, lite in lites.items():
        (tmp_path / key).write_bytes(lite.content)
    command = [sys.executable, "-c", RUNS, HOSTS[name], str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    passed = {key for key, lite in lites.items() if runs(lite, name)}
    assert set(done.stdout.split()) == passed
    assert {f"{operator}@float32" for operator in known} <= passed


def judged(name, content):
    """Whether `check` finds nothing, and whether the runtime does."""
    lite = LiteModel(content)
    inputs = [np.ones(tensor.shape, tensor.dtype) for tensor in lite.file.subgraphs[0].inputs]
    try:
        runtimes.run(HOSTS[name], content, inputs)
    except child.ChildError:
        return sft_keras.check(lite, name).runs, False
    return sft_keras.check(lite, name).runs, True


STRETCHED = [
    (operator, dtype, limit)
    for dtype, limits in targets.named("tflite-runtime-2.14").most_stretched_axes.items()
    for operator, limit in limits.items()
]


@pytest.mark.parametrize(("operator", "dtype", "limit"), STRETCHED)
def test_more_axes_than_a_kernel_stretches_are_named(operator, dtype, limit):
    required(name := "tflite-runtime-2.14")
    for axes in (limit, limit + 1):
        shape = (1, 2, 3, 2, 2, 2)[:axes]
        last = (1,) * (axes - 1) + shape[-1:]
        unlike = file_of(operator, dtype, ([shape, last], shape))
        assert judged(name, unlike) == (axes == limit,) * 2
        assert judged(name, file_of(operator, dtype, ([shape, shape], shape))) == (True, True)


def test_more_axes_than_tflite_micro_broadcasts_to_are_named():
    required("tflm")
    for axes in (5, 6):
        shape = (1, 2, 3, 2, 2, 2)[:axes]
        content = file_of("BROADCAST_TO", "int8", ([shape, int32(*shape)], shape))
        assert judged("tflm", content) == (axes == 5,) * 2


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("number", ["int16", "float32"])
def test_a_number_to_pad_with_is_as_what_it_pads(name, number):
    required(name)
    form = [SHAPE, PADS, np.array(2, number)], (1, 4, 4, 4)
    assert judged(name, file_of("PADV2", "int16", form)) == (number == "int16",) * 2
