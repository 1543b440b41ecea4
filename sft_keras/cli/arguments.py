"""Flags that several subcommands share, and the types of their values."""

import argparse
import math
import re

ONE_LINE_PER_EPOCH = 2  # Keras' verbosity without progress bars
MOST, MOST_SEED, MOST_PIXELS = 2**31 - 1, 2**32 - 1, 2**15


def positive_int(text: str) -> int:
    """A whole number above 0 that TensorFlow can count to."""
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return _no_more(text, MOST)


def _no_more(text, most):
    if len(text.lstrip("0")) > len(str(most)) or int(text) > most:
        raise argparse.ArgumentTypeError(f"{text} is more than {most:,}")
    return int(text)


def seed(text: str) -> int:
    """A whole number that NumPy takes for a seed."""
    if not re.fullmatch(r"\d+", text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return _no_more(text, MOST_SEED)


def ratio(text: str) -> float | dict[str, float]:
    """A number from 0 up to 1, or one for each layer: `conv1=0.5,block?_*=0.3`."""
    if "=" not in text:
        return _share(text)
    pairs = (part.rpartition("=") for part in text.split(","))
    return {name.strip(): _share(value) for name, _, value in pairs}


def _share(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 up to, not including, 1")
    return value


def layer_dtypes(text: str) -> dict[str, str]:
    """A dtype for some layers: `head=float32,block?_*=int16x8`."""
    pairs = [part.rpartition("=") for part in text.split(",")]
    if not all(name.strip() and dtype.strip() for name, _, dtype in pairs):
        raise argparse.ArgumentTypeError(f"{text} is not like head=float32,block?_*=int16x8")
    return {name.strip(): dtype.strip() for name, _, dtype in pairs}


def add_layer_dtypes(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds `--layer_dtypes`."""
    parser.add_argument(
        "--layer_dtypes",
        type=layer_dtypes,
        metavar="LAYER=DTYPE",
        help=f"layers, by name or pattern, that compute in another dtype: {example}",
    )


def image_size(text: str) -> tuple[int, int]:
    """Height and width in pixels, `96` or `96x128`."""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is not like 96 or 96x128")
    height, width = match[1], match[2] or match[1]
    return _no_more(height, MOST_PIXELS), _no_more(width, MOST_PIXELS)


def numbers(text: str) -> list[float]:
    """One number or several: `127.5` or `123.7,116.8,103.9`."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not like 127.5 or 123.7,116.8,103.9") from None


def add_files(parser: argparse.ArgumentParser, output_suffix: str = ".keras") -> None:
    """Adds the file that is read and the one that is written, by position, and `--overwrite`."""
    add_input(parser, ".keras")
    parser.add_argument("output", metavar="OUT", help=f"{output_suffix} file to write")
    add_overwrite(parser)


def add_input(parser: argparse.ArgumentParser, suffix: str) -> None:
    """Adds the file that is read, a positional argument."""
    parser.add_argument("input", metavar="IN", help=f"{suffix} file to read")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="replace what exists")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Adds the `.tflite` file, the folder to fill, `--overwrite`, `--name` and `--labels`."""
    add_input(parser, ".tflite")
    parser.add_argument("output", metavar="OUT", help="folder to fill")
    add_overwrite(parser)
    parser.add_argument(
        "--name", default="model", help="what files and names begin with; default: %(default)s"
    )
    parser.add_argument("--labels", help="text file with the name of each output, one a line")


def add_dataset(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Adds `--dataset`, `--batch_size` and `--seed`."""
    parser.add_argument(
        "--dataset",
        required=required,
        help="digits, a folder with one subfolder of images per class, or a .npz file with "
        "x_train, y_train, x_val, y_val; images and uint8 arrays are divided by 255",
    )
    add_number(parser, "batch_size", 32, "samples per batch")
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="seed of the held-out split, shuffling and training; default: %(default)s",
    )


def add_number(parser: argparse.ArgumentParser, name: str, default: int, meaning: str) -> None:
    """Adds a flag that takes a whole number above 0."""
    parser.add_argument(
        f"--{name}",
        type=positive_int,
        default=default,
        metavar="N",
        help=f"{meaning}; default: %(default)s",
    )
