from sft_keras.tables import aligned


def test_columns_are_aligned_and_nothing_trails():
    assert aligned([("file", "ms"), ("a", "1.25"), ("longer", "")]) == [
        "file    ms",
        "a       1.25",
        "longer",
    ]
