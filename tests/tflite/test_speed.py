import json

import keras
import numpy as np
import pytest

from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.tflite import LiteModel, benchmark, convert, latency, profile, speed, speed_process


def test_latency_of_two_files(qat_lite):
    times = latency({"one": qat_lite, "two": qat_lite}, runs=5, warmup=1)
    assert list(times) == ["one", "two"]
    for timing in times.values():
        assert 0 < timing.low <= timing.median <= timing.high
        assert str(timing).count("ms") == 1


def test_latency_of_one_file(qat_lite):
    timing = latency(qat_lite, runs=3, warmup=0)
    assert 0 < timing.low <= timing.median <= timing.high


def test_a_file_that_looks_up_tokens_runs():
    keras.utils.set_random_seed(0)
    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(3, 2)(tokens))
    lite = convert(keras.Model(tokens, keras.layers.Dense(2)(x)), dtype="float32")
    assert latency({"tokens": lite}, runs=3, warmup=0)["tokens"].median > 0
    assert "GATHER" in str(profile(lite, runs=3))


def test_warm_up_does_not_count(qat_lite):
    assert speed_process.measure([qat_lite.content] * 3, 4, 7, 1).shape == (4, 3)


def test_a_file_that_does_not_run_is_refused(qat_lite, mutate):
    def refuse(model):
        scale = model.Subgraphs(0).Tensors(model.Subgraphs(0).Operators(0).Outputs(0))
        scale.Quantization().ScaleAsNumpy()[:] = 1e-9

    with pytest.raises(UnsupportedError, match="LiteRT cannot run all of good, bad"):
        latency({"good": qat_lite, "bad": mutate(refuse)}, runs=1, warmup=0)


def test_file_order_is_kept_beyond_ten(qat_lite):
    assert isinstance(qat_lite, LiteModel)
    times = latency({str(i): qat_lite for i in range(11)}, runs=1, warmup=0)
    assert list(times) == [str(i) for i in range(11)]


def test_a_file_and_itself_differ_by_noise_alone(qat_lite):
    found = benchmark({"one": qat_lite, "two": qat_lite}, runs=100, warmup=5)
    first, second = found.rows
    assert first.speed is None
    assert first.macs == second.macs > 0
    assert second.fewer_macs == 1
    assert second.speed.low <= second.speed.median <= second.speed.high
    assert ("two and one differ by less than the noise" in str(found)) == second.speed.is_noise
    assert json.loads(json.dumps(found.to_dict()))["runs"] == 100


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [speed._speed(rng.lognormal(0.1, 0.5, 60)) for _ in range(1000)]
    held = np.mean([x.low <= np.exp(0.1) <= x.high for x in intervals])
    assert 0.93 < held < 0.99


def test_a_clear_difference_is_no_noise():
    found = speed._speed(np.random.default_rng(0).normal(2.0, 0.1, 50))
    assert not found.is_noise
    assert found.median == pytest.approx(2, abs=0.1)


def test_few_runs_say_nothing_of_the_median():
    assert speed._speed(np.full(5, 1.5)).is_noise
    assert not speed._speed(np.full(6, 1.5)).is_noise


@pytest.mark.parametrize("measure", [benchmark, latency])
def test_no_file_is_refused(measure):
    with pytest.raises(ArgumentError, match="There is no file"):
        measure({})


def test_benchmark_of_one_file_names_latency(qat_lite):
    with pytest.raises(ArgumentError, match=r"one alone; give a dict .* with latency\(lite\)"):
        benchmark(qat_lite)


@pytest.mark.parametrize("measure", [benchmark, latency])
def test_files_without_names_are_refused(qat_lite, measure):
    with pytest.raises(ArgumentError, match="takes files by name, not list; give a dict"):
        measure([qat_lite, qat_lite])
