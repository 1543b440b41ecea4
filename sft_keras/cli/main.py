"""The `sft-keras` command: an absl app with one subcommand a file."""

import argparse
import io
import os
import sys

from absl import app, flags
from absl.flags import argparse_flags

from sft_keras.cli import (
    benchmark,
    check,
    compare,
    compress,
    convert,
    ethos_u,
    export_android,
    export_micro,
    inspect,
    plan,
    prune,
    quantize,
    quiet,
    shrink,
    verify,
    wording,
)
from sft_keras.cli.parser import CommandParser
from sft_keras.errors import SftKerasError

COMMANDS = (
    *(compress, prune, plan, shrink, quantize, convert),
    *(verify, compare, benchmark, inspect, check),
    *(export_micro, export_android, ethos_u),
)
USAGE_ERROR = 2


def run(argv: list[str] | None = None) -> None:
    """Runs the command line and exits the process.

    The exit code is 0 for success, 2 for wrong arguments and what the system refuses, such as
    memory, the error's own `exit_code` where the package refuses something, and 1, with a
    traceback, for a bug.

    Args:
        argv: the program's name and arguments; `sys.argv` by default.
    """
    # TFMOT and the converter need it, and .keras files load on it whatever they were trained on.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that the terminal has no letters for
        sys.stdout.reconfigure(errors="backslashreplace")
    app.run(_run_command, argv=argv, flags_parser=_parse)


def _run_command(args: argparse.Namespace) -> int:
    quiet.log_plainly()
    try:
        args.run(args)
    except SftKerasError as error:
        sys.stderr.write(f"sft-keras: {wording.for_commands(str(error))}\n")
        return error.exit_code
    except (OSError, MemoryError) as error:
        sys.stderr.write(f"sft-keras: {_of_the_system(error)}\n")
        return USAGE_ERROR
    return 0


def _of_the_system(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "The memory is too small for this; give a smaller --batch_size or model."
    reason = error.strerror or error
    if error.filename is None:
        return f"The system refused a file ({reason}); check paths and free space."
    return f"'{error.filename}' cannot be used ({reason}); give another path."


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _parser()
    if not argv[1:]:
        parser.print_help(sys.stderr)
        parser.exit(USAGE_ERROR)
    try:
        return parser.parse_args(argv[1:])
    except flags.Error as error:  # a --flagfile that cannot be read
        return parser.error(str(error))
    except UnicodeDecodeError as error:
        return parser.error(f"--flagfile is no text ({error})")


def _parser() -> argparse_flags.ArgumentParser:
    parser = argparse_flags.ArgumentParser(
        prog="sft-keras",
        description="Makes Keras networks small enough for phones and microcontrollers.",
        epilog="`sft-keras COMMAND --help` shows the flags of one command; "
        "--flagfile=FILE reads flags from a file.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for module in COMMANDS:
        description = (module.__doc__ or "").strip()
        command = commands.add_parser(
            module.__name__.rpartition(".")[2].replace("_", "-"),
            help=description.partition("\n")[0],
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
