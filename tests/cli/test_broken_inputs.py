"""Damaged inputs of commands: each is read, or refused in a sentence.

SFT_BROKEN_FILES=10000 python -m pytest tests/cli/test_broken_inputs.py
"""

import contextlib
import gzip
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sft_keras
from sft_keras import datasets
from sft_keras.cli import files, main, weights_process
from sft_keras.errors import SftKerasError

FILES = int(os.environ.get("SFT_BROKEN_FILES", "60"))


def shortened(content, rng):
    return content[: rng.integers(len(content))]


def with_other_bytes(content, rng):
    content = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 6)):
        content[place] = rng.integers(256)
    return bytes(content)


def with_noise(content, rng):
    first, last = sorted(rng.integers(len(content), size=2))
    return content[:first] + rng.bytes(last - first) + content[last:]


def with_a_part_twice(content, rng):
    first, last = sorted(rng.integers(len(content), size=2))
    return content[:last] + content[first:]


DAMAGES = (shortened, with_other_bytes, with_noise, with_a_part_twice)


def require_clean(read, path, contents):
    """Reads each content from `path`: none may end but in a value or in a sentence."""
    messages = []
    for content in contents:
        path.write_bytes(content)
        try:
            read(path)
        except SftKerasError as error:
            messages.append(str(error))
    assert messages
    assert all(path.name in text and "\n" not in text for text in messages)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def damaged(content, seed=0):
    rng = np.random.default_rng(seed)
    return (DAMAGES[i % len(DAMAGES)](content, rng) for i in range(FILES))


def rezipped(content, member, change):
    """A `.keras` file with one member changed, its checksum right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == member else old.read(name))
    return buffer.getvalue()


@pytest.mark.parametrize("member", [None, "config.json", "metadata.json", "model.weights.h5"])
def test_models(tmp_path, model_file, member):
    sound, rng = model_file.read_bytes(), np.random.default_rng(1)
    if member is None:
        contents = damaged(sound)
    else:
        contents = (
            rezipped(sound, member, lambda part, i=i: DAMAGES[i % len(DAMAGES)](part, rng))
            for i in range(FILES)
        )
    require_clean(lambda path: files.load_model(str(path)), tmp_path / "broken.keras", contents)


def test_plans(tmp_path, small_model):
    model = small_model()
    sft_keras.plan(model).save(tmp_path / "plan.json")
    sound = (tmp_path / "plan.json").read_bytes()
    (tmp_path / "plan.json").unlink()

    def read(path):
        sft_keras.Plan.load(path)

    require_clean(read, tmp_path / "broken.json", damaged(sound))


def test_labels(tmp_path):
    sound = "\n".join(["null", "eins", "zwölf"] * 20).encode()
    contents = [bytes([255, 254, 200]), *damaged(sound)]
    require_clean(lambda path: files.read_labels(str(path)), tmp_path / "labels.txt", contents)


def test_arrays(tmp_path, data_file):
    require_clean(
        lambda path: datasets.load(str(path)),
        tmp_path / "broken.npz",
        damaged(data_file.read_bytes()),
    )


def test_images(tmp_path):
    image = tmp_path / "image.png"
    keras.utils.save_img(image, np.random.default_rng(0).integers(0, 256, (9, 9, 3)))
    sound = image.read_bytes()
    folder = tmp_path / "photos"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            (folder / name / f"{number}.png").write_bytes(sound)
    messages = []
    for content in damaged(sound):
        (folder / "cats" / "0.png").write_bytes(content)
        try:
            data = datasets.load(str(folder), image_size=(8, 8))
            assert sum(len(y) for part in (data.train, data.val) for _, y in part) == 8
        except SftKerasError as error:
            messages.append(str(error))
    assert messages
    assert all("0.png" in text for text in messages)


OUT = {"plan": "absent/out.json", "convert": "absent/out.tflite"}
DATASET = {"compress", "prune", "convert", "export-micro"}
NAMES = {
    "compress": ("epochs", "train_epochs", "batch_size", "seed", "image_size", "pruning_ratio"),
    "prune": ("epochs", "batch_size", "seed", "pruning_ratio", "exclude", "width_multiple"),
    "plan": ("pruning_ratio", "exclude", "criterion", "width_multiple"),
    "convert": ("dtype", "target", "layer_dtypes", "timeout", "batch_size", "seed"),
    "benchmark": ("runs", "warmup", "threads"),
    "check": ("target",),
    "export-micro": ("name", "labels", "batch_size", "seed"),
    "export-android": ("mean", "std", "package"),
}
VALUES = st.one_of(
    st.text(max_size=20), st.integers().map(str), st.integers(0, 99).map(str), st.floats().map(str)
)
FLAGS = st.sampled_from([*NAMES]).flatmap(
    lambda command: st.tuples(
        st.just(command),
        st.lists(st.tuples(st.sampled_from(NAMES[command]), VALUES), max_size=3),
    )
)


@settings(max_examples=FILES, deadline=None)
@given(FLAGS)
def test_flags(drawn):
    command, flags = drawn
    out = OUT.get(command, "absent/out.keras")
    files_ = ("--output_dir=absent",) if command == "compress" else ("absent.keras", out)
    if command in ("benchmark", "check"):
        files_ = files_[:1]
    given_ = ["--dataset=absent.npz"] if command in DATASET else []
    given_ += [f"--{name}={value}" for name, value in flags]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as exit_:
        main.run(["sft-keras", command, *files_, *given_])
    assert exit_.value.code == 2
    last = errors.getvalue().splitlines()[-1]
    # Either a flag is refused, or all are read, and then there are no such files.
    refused = any(f"argument --{name}: " in errors.getvalue() for name, _ in flags)
    assert refused or (last.startswith("sft-keras: ") and "absent" in last)
    assert "Traceback" not in errors.getvalue()


def test_no_file_of_a_model_lands_outside(tmp_path, model_file):
    path = tmp_path / "inner" / "model.keras"
    path.parent.mkdir()
    with zipfile.ZipFile(model_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("../escaped.txt", "out")
        new.writestr(str(tmp_path / "escaped_too.txt"), "out")
    files.load_model(str(path))
    assert {p.name for p in tmp_path.rglob("*")} == {"inner", "model.keras"}


def require_refused_in_little_memory(path, message):
    """A model that is not loaded: the sentence that says so, and no more than 128 MiB for it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SftKerasError, match=message):
        files.load_model(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17


def with_units(config, units):
    config = json.loads(config)
    config["config"]["layers"][-1]["config"]["units"] = units
    return json.dumps(config).encode()


@pytest.mark.parametrize("units", [10**7, 10**12, 1e30, -1, "2", None, [2]])
def test_a_layer_without_its_weights_takes_no_memory(tmp_path, model_file, units):
    path = tmp_path / "wide.keras"
    content = rezipped(model_file.read_bytes(), "config.json", lambda c: with_units(c, units))
    path.write_bytes(content)
    require_refused_in_little_memory(path, r"wide\.keras")


def deep_in(config, built):
    """A layer of 20,000 outputs for as many inputs."""
    dense = config["config"]["layers"][-1]
    dense["config"]["units"] = 20_000
    dense["build_config"] = {"input_shape": [None, 20_000]} if built else None
    dense["inbound_nodes"] = []


def large_kernel_in(config, built):
    """A convolution whose kernel is much larger than the file."""
    conv = next(x for x in config["config"]["layers"] if x["class_name"] == "Conv2D")
    conv["config"]["kernel_size"] = [5000, 5000]
    conv["build_config"] = {"input_shape": [None, 6000, 6000, 1]} if built else None


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("change", [deep_in, large_kernel_in])
def test_layers_of_more_weights_than_the_file_take_no_memory(tmp_path, model_file, change, built):
    def changed(config):
        config = json.loads(config)
        change(config, built)
        return json.dumps(config).encode()

    path = tmp_path / "wide.keras"
    path.write_bytes(rezipped(model_file.read_bytes(), "config.json", changed))
    require_refused_in_little_memory(path, r"wide\.keras' has layers with .* weights")


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_a_config_larger_than_any_network_s_is_refused(tmp_path, model_file, member):
    path = tmp_path / "long.keras"
    content = b'{"a":[' + b",".join([b"[]"] * (3 << 20)) + b"]}"
    path.write_bytes(rezipped(model_file.read_bytes(), member, lambda _: content))
    require_refused_in_little_memory(path, rf"{member} in '.*long\.keras' has 9,437,191 bytes")


def test_weights_that_never_end_are_refused_before_they_fill_the_memory(tmp_path, model_file):
    # A damaged copy of such weights, in which HDF5 goes in circles and takes more each time.
    endless = gzip.decompress((Path(__file__).parent / "endless.h5.gz").read_bytes())
    path = tmp_path / "endless.keras"
    content = rezipped(model_file.read_bytes(), "model.weights.h5", lambda _: endless)
    path.write_bytes(content)
    require_refused_in_little_memory(path, r"weights in '.*endless\.keras' cannot be read")


def test_weights_are_read_where_the_shell_allows_less_memory(model_file):
    def allow_less():
        resource.setrlimit(resource.RLIMIT_DATA, (weights_process.BESIDE, weights_process.BESIDE))

    command = [sys.executable, "-m", weights_process.__name__, str(model_file)]
    done = subprocess.run(command, preexec_fn=allow_less, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, model_file):
    path = tmp_path / "bomb.keras"
    path.write_bytes(model_file.read_bytes())
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open("assets/zeros", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(2**20))
    with pytest.raises(SftKerasError, match="would unpack to"):
        files.load_model(str(path))


def test_a_plan_of_huge_numbers_is_refused_at_once(tmp_path):
    path = tmp_path / "plan.json"
    rows = {"version": 1, "layers": {"conv": {"prune": [10**30], "filters": 10**30}}}
    path.write_text(json.dumps(rows))
    with pytest.raises(SftKerasError):
        sft_keras.shrink(
            keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="conv")]),
            sft_keras.Plan.load(path),
        )
