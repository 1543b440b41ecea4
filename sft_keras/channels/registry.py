"""Which rule reads which layer."""

from collections.abc import Callable
from typing import Any

from sft_keras import flavors

_BUILTIN: dict[tuple[str, str], Callable] = {}
_MIXING: dict[str, str] = {}
_CUSTOM: dict[type, Callable] = {}


def builtin_rule(*names: str, kind: str = "layers"):
    """Registers a rule for layers of both Kerases, by class name.

    With `kind="ops"` it is for operators, by `flavors.operator_name`.
    """

    def register(rule: Callable) -> Callable:
        for name in names:
            _BUILTIN[kind, name] = rule
        return rule

    return register


def explain(reason: str, *names: str) -> None:
    """Gives layers that can never be pruned through their own reason."""
    _MIXING.update(dict.fromkeys(names, reason))


def register_channel_rule(layer_class: type):
    """Teaches channel analysis a custom layer.

    The rule takes the walk, the call and one `Channels` per input tensor, and returns the
    `Channels` of the output (a list for several outputs).

    Args:
        layer_class: the exact class that the rule is for; its subclasses need their own.

    Returns:
        A decorator that registers the rule.

    Example:
        >>> from sft_keras.channels import register_channel_rule
        >>> @register_channel_rule(Clip)
        ... def clip(walk, call, x):
        ...     return x  # element-wise, and maps 0 to 0
    """

    def register(rule: Callable) -> Callable:
        _CUSTOM[layer_class] = rule
        return rule

    return register


def rule_for(layer: Any) -> Callable | None:
    """The rule of a layer's exact class, or None; a subclass may compute anything."""
    cls = type(layer)
    if is_adapted(layer):
        return None
    if flavors.is_operator(layer) and flavors.is_of_keras(cls):
        return _BUILTIN.get(("ops", flavors.operator_name(layer)))
    kind = "layers" if flavors.is_of_keras(cls) else "custom"
    return _CUSTOM.get(cls) or _BUILTIN.get((kind, cls.__name__))


def no_rule_reason(layer: Any) -> str:
    """Why filters that enter `layer` are frozen."""
    name = type(layer).__name__
    if flavors.is_operator(layer) and flavors.is_of_keras(type(layer)):
        name = flavors.operator_name(layer)
    if is_adapted(layer):
        return f"enters '{layer.name}' ({name}), whose weights are quantized or have LoRA"
    if name in _MIXING:
        return f"enters '{layer.name}' ({name}), {_MIXING[name]}"
    return f"enters '{layer.name}' ({name}), which has no channel rule"


def is_adapted(layer: Any) -> bool:
    """Whether a layer computes its kernel from other variables, as Keras 3 can let it."""
    return bool(getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))
