"""What a tf_keras file names, checked before it is loaded.

tf_keras imports whatever module a file names, and calls what it finds there, in its safe mode too.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import tf_keras

from sft_keras.errors import FileError
from sft_keras.quantization import cycles

# Arrays and the like, which tf_keras makes of the values that stand beside them.
VALUES = {"__tensor__", "__numpy__", "__bytes__"}
# Classes that tf_keras exports under no public name, each with its module.
OPERATORS = dict.fromkeys(("TFOpLambda", "SlicingOpLambda"), "layers.core.tf_op_layer")
INTERNAL = {"Functional": "engine.functional", **OPERATORS}
# Functions of TensorFlow that only compute; others read files, write them or call Python.
PURE_MODULES = ("math.", "nn.", "linalg.", "__operators__.")
PURE_FUNCTIONS = {
    *("broadcast_to", "cast", "clip_by_value", "concat", "einsum", "expand_dims", "gather"),
    *("identity", "image.resize", "one_hot", "ones_like", "pad", "repeat", "reshape", "reverse"),
    *("roll", "sort", "split", "squeeze", "stack", "stop_gradient", "tile", "transpose"),
    *("unstack", "where", "zeros_like", "quantization.fake_quant_with_min_max_args"),
    "quantization.fake_quant_with_min_max_vars",
    "quantization.fake_quant_with_min_max_vars_per_channel",
}
FUNCTIONS = (tf_keras.activations, tf_keras.losses, tf_keras.metrics)


def require_safe(path: str) -> None:
    """Refuses a file that could run code when tf_keras loads it, or never end.

    Call it in the scope of custom objects in which the file will be loaded.

    Args:
        path: a `.keras` file of tf_keras.

    Raises:
        FileError: the file is no whole `.keras` file, or names what is not known to be harmless.
    """
    config = _read_config(path)
    shared: dict[Any, tuple] = {}
    for part in _dicts(config):
        if "class_name" in part and not _is_safe(part):
            raise FileError(
                f"'{path}' names {_name(part)}, which could run any code; build the model of "
                "layers of tf_keras and registered ones, and save it again."
            )
        if "shared_object_id" in part:
            here = (part.get("class_name"), part.get("config"))
            if shared.setdefault(str(part["shared_object_id"]), here) != here:
                raise FileError(
                    f"'{path}' has two objects of one number ({_name(part)}); save the model again."
                )
        if isinstance(part.get("layers"), list):
            cycles.require_none(path, part["layers"])


def _read_config(path: str) -> Any:
    # Under any other name tf_keras reads an HDF5 file, which one file can be as well.
    if not path.endswith(".keras") or not os.path.isfile(path):
        raise FileError(f"There is no .keras file '{path}'; give one that tf_keras saved.")
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except Exception as error:  # zipfile lets many errors of a damaged header through
        raise FileError(
            f"'{path}' is not a whole .keras file; save the model again with model.save()."
        ) from error


def _dicts(config: Any) -> Iterator[dict]:
    """All dicts in a config, however deep."""
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            yield part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _is_safe(part: dict) -> bool:
    """Whether tf_keras can only make a known, harmless object of this."""
    name, config = part["class_name"], part.get("config")
    if not isinstance(name, str) or name == "Lambda":
        return False
    if name == "function":
        return isinstance(config, str) and (_is_registered(config) or _is_of_keras(part))
    if name in OPERATORS and not (isinstance(config, dict) and _is_pure(config.get("function"))):
        return False
    registered = part.get("registered_name", name)
    known = isinstance(registered, str) and _is_registered(registered)
    return name in VALUES or known or _is_class_of_a_library(part)


def _is_registered(name: str) -> bool:
    return tf_keras.saving.get_registered_object(name) is not None


def _is_of_keras(function: dict) -> bool:
    """Whether this is an activation, loss or metric of tf_keras."""
    found = any(callable(getattr(module, function["config"], None)) for module in FUNCTIONS)
    # What is not found under the one name tf_keras looks for under the other.
    places = (function.get("module"), function.get("registered_name"))
    return found and places == ("builtins", "function")


def _is_pure(function: Any) -> bool:
    return isinstance(function, str) and (
        function in PURE_FUNCTIONS or function.startswith(PURE_MODULES)
    )


def _is_class_of_a_library(part: dict) -> bool:
    """Whether tf_keras or TFMOT has such a class that is made from a config."""
    name, module = part["class_name"], part.get("module")
    if not isinstance(module, str) or part.get("registered_name") not in (None, name):
        return False
    library, *inner = module.split(".")
    if library == "tensorflow_model_optimization":
        return name.isidentifier() and name[0].isupper()  # a class, and no function
    if library not in ("keras", "tf_keras"):
        return False
    if INTERNAL.get(name) == ".".join(inner).removeprefix("src."):
        return True
    found: Any = tf_keras
    for step in (*inner, name):
        found = getattr(found, step, None)
    return isinstance(found, type) and hasattr(found, "from_config")


def _name(part: dict) -> str:
    name, config = part.get("class_name"), part.get("config")
    function = config.get("function") if isinstance(config, dict) else config
    shown = f"{name} {function}" if isinstance(function, str) else str(name)
    return f"{shown} of module {part['module']}" if part.get("module") else shown
