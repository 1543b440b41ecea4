import pytest

from sft_keras.errors import UnsupportedError
from sft_keras.tflite import LiteModel, benchmark_process, latency


def test_latency_of_two_files(qat_lite):
    times = latency({"one": qat_lite, "two": qat_lite}, runs=5, warmup=1)
    assert list(times) == ["one", "two"]
    for timing in times.values():
        assert 0 < timing.low <= timing.median <= timing.high
        assert str(timing).count("ms") == 1


def test_warm_up_does_not_count(qat_lite):
    assert benchmark_process.measure([qat_lite.content] * 3, 4, 7, 1).shape == (4, 3)


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
