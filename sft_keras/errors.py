"""The errors a user can mend.

Each message is one sentence that names what is wrong, where, and the way out. The command line
prints it as it is and exits with `exit_code`, without a traceback.
"""


class SftKerasError(ValueError):
    """Base of every error that the package raises on purpose."""

    exit_code = 2


class ArgumentError(SftKerasError):
    """An argument that is out of range, or names what there is not."""


class UnsupportedError(SftKerasError):
    """A model, layer or operator that the package does not understand and so refuses."""


class ShrinkError(SftKerasError):
    """The shrunk model does not give the masked model's outputs."""


class ConversionError(SftKerasError):
    """The TFLite converter failed, crashed or ran out of time."""


class GateError(SftKerasError):
    """A `.tflite` file that breaks what was promised of it: float tensors, missing operators, …"""


class MissingExtraError(SftKerasError):
    """An optional runtime is not installed; the message holds the `pip install` line."""


class DataError(SftKerasError):
    """Training data that is missing, empty, corrupt or of the wrong shape."""


class FileError(SftKerasError):
    """A file that is missing or corrupt, stands in the way, or cannot be written."""
