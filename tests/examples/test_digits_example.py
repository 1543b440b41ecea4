"""examples/digits.py"""


def test_it_writes_a_tflite_file_and_prints_what_runs(example, is_tflite):
    printed = example("digits.py", "--epochs=2", "--qat_epochs=1")
    assert is_tflite("digits.tflite")
    assert "accuracy" in printed.partition("MACs before")[2]


def test_it_does_not_replace_a_file(refusal, tmp_path):
    (tmp_path / "mine.tflite").write_bytes(b"mine")
    assert "mine.tflite exists" in refusal("digits.py", "--out=mine.tflite")
    assert (tmp_path / "mine.tflite").read_bytes() == b"mine"
