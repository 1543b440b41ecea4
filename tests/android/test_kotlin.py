"""The Kotlin compiled against stubs of Android and LiteRT, and run.

Needs `kotlinc`, which the npm package `kotlin-compiler` has, and a JDK.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sft_keras import android

pytestmark = pytest.mark.skipif(
    not (shutil.which("kotlinc") and shutil.which("javac")), reason="kotlinc or javac is missing"
)

STUB = Path(__file__).parent / "stub"
LABELS = ["ant", 'b"$e\\', "cät"]
MAIN = """
import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import net.NetCompiled
import net.NetInterpreter
import net.NetTensors

fun values(size: Int) = FloatArray(size) { (it % 23 - 11) * 0.37f }

fun show(numbers: FloatArray) = println(numbers.joinToString(" "))

fun main(arguments: Array<String>) {
    val context = Context()
    when (arguments[0]) {
        "net compiled" -> NetCompiled(context, CompiledModel.Options(Accelerator.GPU)).use {
            show(it.run(values(NetTensors.INPUT_0_SIZE)))
            println(it.classify(values(NetTensors.INPUT_0_SIZE)).label)
        }
        "net interpreter" -> NetInterpreter(context).use {
            show(it.run(values(NetTensors.INPUT_0_SIZE)))
            println(it.classify(values(NetTensors.INPUT_0_SIZE)).label)
        }
        "normalize" -> show(NetTensors.normalizeInput0(floatArrayOf(0f, 50f, 255f, 10f)))
        "unsigned compiled" -> unsigned.NetCompiled(context).use {
            show(it.run(values(NetTensors.INPUT_0_SIZE)))
        }
        "unsigned interpreter" -> unsigned.NetInterpreter(context).use {
            show(it.run(values(NetTensors.INPUT_0_SIZE)))
        }
        "segments compiled" -> segments.NetCompiled(context).use {
            println(it.classify(values(16)).joinToString(" ") { place -> place.label })
        }
        "segments interpreter" -> segments.NetInterpreter(context).use {
            println(it.classify(values(16)).joinToString(" ") { place -> place.label })
        }
        "two compiled" -> two.NetCompiled(context).use {
            val outputs = it.run(intArrayOf(3, 1, 4, 1), values(3))
            show(outputs.output0)
            show(outputs.output1)
        }
        "two interpreter" -> two.NetInterpreter(context).use {
            val outputs = it.run(intArrayOf(3, 1, 4, 1), values(3))
            show(outputs.output0)
            show(outputs.output1)
        }
        "remembering interpreter" -> remembering.NetInterpreter(context).use {
            show(it.run(values(15)))
        }
        "short" -> net.NetInterpreter(context).use { it.run(values(7)) }
    }
}
"""
RUNNERS = ("compiled", "interpreter")


@pytest.fixture(scope="module")
def files(lite, unsigned, segments, two, remembering):
    files = {"net": lite, "unsigned": unsigned, "segments": segments, "two": two}
    return files | {"remembering": remembering}


@pytest.fixture(scope="module")
def build(files, tmp_path_factory):
    """The folder of each file's export, and all of them in one program."""
    folder = tmp_path_factory.mktemp("kotlin")
    for package, lite in files.items():
        options = {} if package in ("two", "remembering") else {"labels": LABELS}
        if package == "net":
            options |= {"mean": [127.5, 100, 50], "std": 2}
        android.export(lite, folder / package, name="net", package=package, **options)
    (folder / "Main.kt").write_text(MAIN)
    classes = folder / "classes"
    subprocess.run(["javac", "-d", classes, *STUB.glob("*.java")], check=True)
    sources = [*STUB.glob("*.kt"), *folder.rglob("*.kt")]
    command = ["kotlinc", "-J-Xmx1g", "-Werror", "-cp", classes, *sources, "-include-runtime"]
    done = subprocess.run(
        [*map(str, command), "-d", str(folder / "app.jar")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def device(build, files):
    """Runs a case of the program; gives its lines, and the bytes that inputs were given."""

    def run(case, outputs=()):
        package, _, runner = case.partition(" ")
        lite = files.get(package, files["net"])
        assets = build / (package if package in files else "net")
        for number, (details, values) in enumerate(zip(lite.outputs, outputs, strict=False)):
            for key in (details.name, number):
                (assets / f"output_{key}").write_bytes(np.asarray(values, details.dtype).tobytes())
        path = f"{build / 'classes'}:{build / 'app.jar'}"
        command = ["java", f"-Dassets={assets}", "-Dfile.encoding=UTF-8", "-cp", path]
        done = subprocess.run(
            [*command, "-Dstdout.encoding=UTF-8", "MainKt", case],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        keys = [d.name for d in lite.inputs] if runner == "compiled" else range(len(lite.inputs))
        given = [assets / f"given_{key}" for key in keys]
        found = [path.read_bytes() for path in given if path.exists()]
        return done.stdout.splitlines(), found, done.stderr

    return run


def values(size):
    return (np.arange(size) % 23 - 11).astype("float32") * np.float32(0.37)


def numbers(line):
    return np.array(line.split(), "float32")


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("package", ["net", "unsigned"])
def test_numbers_are_converted_as_python_does(device, files, package, runner):
    lite, stored = files[package], [-128, 3, 127]
    stored = [step + 128 * (package == "unsigned") for step in stored]
    lines, given, _ = device(f"{package} {runner}", [stored])
    assert given[0] == lite.quantize_input(values(192)).tobytes()
    np.testing.assert_array_equal(numbers(lines[0]), lite.dequantize_output(np.array(stored)))


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_label_of_the_highest_score_is_given(device, runner):
    lines, _, _ = device(f"net {runner}", [[-128, 3, -5]])
    assert lines[1] == LABELS[1]
    scores = np.eye(3)[[2, 0, 0, 1]]
    lines, given, _ = device(f"segments {runner}", [scores])
    assert lines == [" ".join(LABELS[number] for number in (2, 0, 0, 1))]
    assert given[0] == values(16).tobytes()


@pytest.mark.parametrize("runner", RUNNERS)
def test_several_inputs_and_outputs_keep_the_order_of_the_model(device, files, runner):
    assert [details.name for details in files["two"].inputs] == ["tokens", "extra"]
    lines, given, _ = device(f"two {runner}", [[1, 2], [3, 4, 5, 6, 7]])
    assert given == [np.int32([3, 1, 4, 1]).tobytes(), values(3).tobytes()]
    assert [numbers(line).tolist() for line in lines] == [[1, 2], [3, 4, 5, 6, 7]]


def test_a_file_that_remembers_runs(device, files):
    lines, given, _ = device("remembering interpreter", [[3, -7]])
    assert given[0] == files["remembering"].quantize_input(values(15)).tobytes()
    expected = files["remembering"].dequantize_output(np.array([3, -7]))
    np.testing.assert_array_equal(numbers(lines[0]), expected)


def test_raw_values_are_normalized_by_channel(device):
    lines, _, _ = device("normalize")
    np.testing.assert_allclose(numbers(lines[0]), [-63.75, -25, 102.5, -58.75])


def test_too_few_numbers_are_refused(device):
    _, _, err = device("short")
    assert "input0 has 7 numbers, not 192" in err
