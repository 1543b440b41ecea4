import argparse

import pytest

from sft_keras.cli import arguments


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("030", 30)])
def test_positive_int(text, value):
    assert arguments.positive_int(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many"])
def test_positive_int_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number above 0"):
        arguments.positive_int(text)


@pytest.mark.parametrize("text", ["2147483648", "9" * 20, "9" * 5000])
def test_positive_int_refuses_what_tensorflow_cannot_count_to(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is more than 2,147,483,647"):
        arguments.positive_int(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("007", 7), ("4294967295", 2**32 - 1)])
def test_seed(text, value):
    assert arguments.seed(text) == value


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "4294967296", "9" * 5000])
def test_seed_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"not a whole number of 0|is more than"):
        arguments.seed(text)


@pytest.mark.parametrize("text", ["32769", "96x99999999999"])
def test_image_size_refuses_what_no_memory_holds(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is more than 32,768"):
        arguments.image_size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("0", 0), ("a=0.25,block?_*=0.5", {"a": 0.25, "block?_*": 0.5})],
)
def test_ratio(text, value):
    assert arguments.ratio(text) == value


@pytest.mark.parametrize("text", ["1", "-0.1", "nan", "half", "", "a=1", "a=", "=", "a=0.1,b"])
def test_ratio_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not a number from 0 up to"):
        arguments.ratio(text)


@pytest.mark.parametrize(("text", "value"), [("96", (96, 96)), ("96x128", (96, 128))])
def test_image_size(text, value):
    assert arguments.image_size(text) == value


@pytest.mark.parametrize("text", ["0", "96x", "x96", "96x0", "-1", "1.5", "96x96x3"])
def test_image_size_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not like 96 or 96x128"):
        arguments.image_size(text)
