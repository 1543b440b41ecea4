"""C++ for microcontrollers: compiled against a stub of TFLite Micro, and run."""

import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tflite
from keras import layers

from sft_keras import LiteModel, convert, micro
from sft_keras.errors import ArgumentError, DataError, FileError, GateError, UnsupportedError
from sft_keras.tflite import arena_size

STUB = Path(__file__).parent / "stub"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
MAIN = """
#include <cstdio>
#include <cstring>

#include "net_arena.h"
#include "net_data.h"
#include "net_golden_vectors.h"
#include "net_io.h"
#include "net_ops.h"

alignas(16) static unsigned char arena[NET_ARENA_SIZE];

int main() {
  if (reinterpret_cast<unsigned long long>(net_data) % 16 != 0) return 1;
  tflite::MicroMutableOpResolver<kNetOpCount> resolver;
  if (AddNetOps(resolver) != kTfLiteOk || resolver.count() != kNetOpCount) return 2;
  const auto run = [](const void* outputs, int tolerance) {
    tflite::MicroInterpreter interpreter(kNetGoldenInput0, sizeof(kNetGoldenInput0[0]), outputs,
                                         sizeof(kNetGoldenOutput0[0]));
    return NetSelfTest(interpreter, tolerance);
  };
  if (run(kNetGoldenOutput0, 0) != 0) return 3;
  auto other = kNetGoldenOutput0[0][0];
  static unsigned char changed[sizeof(kNetGoldenOutput0)];
  std::memcpy(changed, kNetGoldenOutput0, sizeof(changed));
  changed[0] = static_cast<unsigned char>(other > 0 ? other - 1 : other + 1);
  if (run(changed, 0) != 1 || run(changed, 1) != 0) return 4;
  std::fwrite(net_data, 1, net_data_size, stdout);
  std::fprintf(stderr, "%d %d %.9g %s %u", net_input_0_quantize(0.0f), net_input_0_quantize(1e9f),
               static_cast<double>(net_output_0_dequantize(127)), net_labels[1],
               static_cast<unsigned>(sizeof(arena)));
  return 0;
}
"""


@pytest.fixture(scope="module")
def lite():
    keras.utils.set_random_seed(0)
    x = layers.Conv2D(4, 3, activation="relu")(image := keras.Input((8, 8, 1), name="image"))
    x = layers.Dense(3, activation="softmax", name="classes")(layers.GlobalAveragePooling2D()(x))
    return convert(keras.Model(image, x, name="net"), samples())


def samples():
    return np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def firmware(lite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("micro") / "firmware"
    micro.export(lite, folder, name="net", labels=["a", 'b"\\?é', "c"], samples=samples())
    return folder


def compiled(compiler, folder, *sources, output):
    command = [compiler, "-std=c++17", *WARNINGS, f"-I{STUB}", f"-I{folder}", *sources]
    subprocess.run([*map(str, command), "-o", str(output)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def program(firmware, tmp_path_factory):
    """What the compiled program writes to stdout and stderr."""
    build = tmp_path_factory.mktemp("build")
    (build / "main.cc").write_text(MAIN)
    compiled("g++", firmware, firmware / "net_data.cc", build / "main.cc", output=build / "main")
    done = subprocess.run([build / "main"], capture_output=True, check=False)
    assert done.returncode == 0
    return done.stdout, done.stderr.decode()


def test_the_array_holds_the_bytes_of_the_file(lite, program):
    assert program[0] == lite.content


def test_inputs_and_outputs_are_converted_as_the_file_says(lite, program):
    zero, most, one, label, arena = program[1].split(" ")
    assert int(zero) == lite.inputs[0].zero_point
    assert int(most) == 127
    assert float(one) == pytest.approx(float(lite.dequantize_output(np.int8([127]))[0]))
    assert label == 'b"\\?é'
    assert arena_size(lite) <= int(arena) <= 1.3 * arena_size(lite)


def test_the_headers_of_data_and_io_are_c_too(firmware, tmp_path):
    source = tmp_path / "main.c"
    source.write_text('#include "net_data.h"\n#include "net_io.h"\n#include "net_arena.h"\n')
    command = ["gcc", "-std=c11", *WARNINGS, "-fsyntax-only", f"-I{firmware}", source]
    command.insert(3, "-Wno-unused-const-variable")
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_in_the_file_ends_no_comment(lite, renamed, tmp_path):
    evil = renamed(lite, "a*/\nint INJECTED = 1; /*/ \u2028\u202e\\")
    folder = tmp_path / "firmware"
    micro.export(evil, folder, name="net")
    sources = ("net_arena.h", "net_io.h", "net_data.cc")
    (tmp_path / "main.cc").write_text(
        "".join(f'#include "{name}"\n' for name in sources) + "int INJECTED;\n"
    )
    compiled("g++", folder, tmp_path / "main.cc", "-fsyntax-only", output=tmp_path / "o")
    for name in ("net_arena.h", "net_io.h"):
        assert "a* /?int INJECTED = 1; / * / ???" in (folder / name).read_text()


@pytest.mark.skipif(not shutil.which("arm-none-eabi-g++"), reason="gcc-arm-none-eabi is missing")
def test_it_compiles_for_arm(firmware, tmp_path):
    (tmp_path / "main.cc").write_text(MAIN)
    sources = [firmware / "net_data.cc", tmp_path / "main.cc", "-mcpu=cortex-m4", "-mthumb"]
    for source in sources[:2]:
        compiled("arm-none-eabi-g++", firmware, source, "-c", *sources[2:], output=tmp_path / "o")
    assert (tmp_path / "o").stat().st_size > 0


def test_the_readme_shows_how_to_use_it(firmware):
    text = (firmware / "README.md").read_text()
    assert {f"`{path.name}`" for path in firmware.iterdir() if path.suffix != ".md"} <= {
        word.strip(",|") for word in text.split()
    }


def test_without_samples_the_golden_vectors_are_random(lite, tmp_path):
    micro.export(lite, tmp_path / "firmware")
    text = (tmp_path / "firmware" / "model_golden_vectors.h").read_text()
    assert "constexpr int kModelGoldenCount = 3;" in text
    assert "labels" not in (tmp_path / "firmware" / "model_io.h").read_text()


def test_files_that_are_there_stay_unless_they_may_be_replaced(lite, firmware):
    with pytest.raises(FileError, match="is not empty"):
        micro.export(lite, firmware)
    before = sorted(path.name for path in firmware.iterdir())
    micro.export(lite, firmware, name="net", overwrite=True)
    assert sorted(path.name for path in firmware.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": ["a"]}, ArgumentError, "1 labels, but output 'classes' has 3"),
        ({"name": "7 models"}, ArgumentError, "'7 models'; give an identifier"),
        ({"samples": np.zeros((3, 7))}, DataError, "shape \\(3, 7\\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(lite, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        micro.export(lite, tmp_path / "firmware", **options)
    assert not list(tmp_path.iterdir())


def test_a_float_model_and_an_operator_without_kernel_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, activation="gelu")])
    with pytest.raises(UnsupportedError, match="computes in float32"):
        micro.export(convert(model, dtype="float32"), tmp_path / "firmware")
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 1))
    with pytest.raises(GateError, match="GELU"):
        micro.export(convert(model, x, target="litert"), tmp_path / "firmware")


def test_a_file_on_which_tflite_micro_crashes_is_refused(lite, tmp_path):
    content = bytearray(lite.content)
    graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    weights = graph.Operators(0).Inputs(1)
    graph.Tensors(weights).ShapeAsNumpy()[3] = 7
    with pytest.raises(UnsupportedError, match="TFLite Micro cannot run the model: crashed"):
        micro.export(LiteModel(bytes(content)), tmp_path / "firmware")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((60000, 60000), "has shape .*no array on a device"),
        ((4000000, 100), "bytes of memory while CONV_2D"),
    ],
)
def test_a_file_that_fits_no_device_is_refused(lite, tmp_path, size, message):
    content = bytearray(lite.content)
    graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    image = graph.Tensors(graph.Inputs(0))
    for shape in (image.ShapeAsNumpy(), image.ShapeSignatureAsNumpy()):
        if isinstance(shape, np.ndarray):
            shape[1:3] = size
    with pytest.raises(UnsupportedError, match=message):
        micro.export(LiteModel(bytes(content)), tmp_path / "firmware")


def test_memory_is_what_lies_there_while_an_operator_runs(lite):
    found = dict(micro.memory_by_operator(lite))
    convolution = next(size for name, size in found.items() if name.startswith("CONV_2D"))
    assert convolution == 8 * 8 + 6 * 6 * 4
    assert max(found.values()) < arena_size(lite)
