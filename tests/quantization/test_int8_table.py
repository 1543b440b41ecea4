"""The table in docs/int8.md: what becomes int8 by training, what by calibration, what does not.

    SFT_WRITE_TABLE=1 python -m pytest tests/quantization/test_int8_table.py -m slow

writes it anew; without, the same run says what a new TensorFlow or TFMOT changed.
"""

import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from int8_cases import CASES, data_for

from sft_keras import convert, quantize
from sft_keras.errors import ConversionError, GateError, UnsupportedError
from sft_keras.quantization import problems
from sft_keras.tflite import child, converter_process, runtimes
from sft_keras.tflite.runtimes import worker

PAGE = Path(__file__).parents[2] / "docs" / "int8.md"
HEAD = ("layer", "QAT", "PTQ", "why not")
ROW = re.compile(r"^\| `([^`\"\n]+)` \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
YES, PHONES, NO = "yes", "LiteRT", "no"


@pytest.fixture(autouse=True)
def _fresh_names():
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


def rows(text):
    return {name: rest for name, *rest in ROW.findall(text)}


def test_the_table_names_every_case(page):
    assert list(rows(page)) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_trained_is_refused_before_any_training(name, page):
    assert (rows(page)[name][0] == NO) == bool(problems(CASES[name]()))


def in_a_fork(module, arguments, timeout):
    """Converts or runs in a fork: no start of TensorFlow, and a crash is survived all the same."""
    del timeout
    work = {"converter_process": convert_one, "worker": worker.work}[module.rpartition(".")[-1]]
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work(*arguments)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if status:
        raise child.ChildError(f"crashed with status {status}")


def convert_one(folder, target, settings):
    given = converter_process.Settings(**json.loads(settings.read_text()))
    target.write_bytes(converter_process.convert(str(folder), given))


def trained(make):
    """Whether quantization-aware training ends in int8, and why not."""
    model = make()
    found = problems(model)
    if found:
        return NO, f"QAT: {found[0].reason}"
    qat, data = quantize(model), data_for(model)
    for _ in range(8):  # what is random while training shows its range in a few passes
        qat(data, training=True)
    return outcome(lambda target: convert(qat, target=target), "QAT", model, data)


def calibrated(make):
    """Whether post-training quantization ends in int8, and why not."""
    model = make()
    data = data_for(model, 32)
    return outcome(lambda target: convert(model, data, target=target), "PTQ", model, data)


def outcome(run, kind, model, data):
    why = ""
    for target, answer in (("tflm", YES), ("litert", PHONES)):
        try:
            lite = run(target)
        except GateError as error:
            finding = str(error).splitlines()[1].partition(":")[0]
            why = why or f"{kind}: {re.sub(r' .[^ ]*. ', ' ', finding.removeprefix('- '), count=1)}"
        except UnsupportedError as error:
            return NO, f"{kind}: {str(error).partition(' is ')[2]}"
        except ConversionError:
            return NO, f"{kind}: the converter fails"
        else:
            require_values(lite, target, model, data)
            return answer, why
    return NO, why


def require_values(lite, target, model, data):
    """The file computes what the model does, on all that are to run it."""
    expected = model.predict(data, verbose=0)
    for runtime in dict.fromkeys(("litert", target)):
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(data)])
        error = lite.dequantize_output(found) - expected
        assert np.sqrt(np.mean(error**2)) < 0.15 * np.std(expected), (model.layers, runtime)


@pytest.mark.slow
def test_the_table_says_what_happens(monkeypatch, page):
    monkeypatch.setattr(child, "run", in_a_fork)
    lines = []
    for name, make in CASES.items():
        keras.backend.clear_session()
        (qat, why_qat), (ptq, why_ptq) = trained(make), calibrated(make)
        reasons = "; ".join(filter(None, (why_qat, why_ptq)))
        lines.append(f"| `{name}` | {qat} | {ptq} | {reasons} |")
        print(lines[-1], flush=True)
    if os.environ.get("SFT_WRITE_TABLE"):
        before, after = page[: page.index("| layer |")], page[page.rindex("|\n") + 2 :]
        table = ["| " + " | ".join(HEAD) + " |", "| --- | --- | --- | --- |", *lines]
        PAGE.write_text(before + "\n".join(table) + "\n" + after)
    else:
        assert lines == [m.group(0) for m in ROW.finditer(page)]
