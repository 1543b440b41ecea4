"""Every layer that either Keras exports is understood, explained, or named in docs/coverage.md."""

import inspect
import re
from pathlib import Path

from sft_keras.channels import registry

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def _without_rule(flavor):
    layers = inspect.getmembers(flavor.layers, inspect.isclass)
    names = {cls.__name__ for _, cls in layers if issubclass(cls, flavor.layers.Layer)}
    with_rule = {name for name in names if ("layers", name) in registry._BUILTIN}
    return names - with_rule - set(registry._MIXING)


def test_every_layer_without_a_rule_is_on_the_page(flavor):
    words = set(re.findall(r"\w+", PAGE.read_text()))
    assert _without_rule(flavor) - words == set()


def test_page_lists_no_layer_that_has_a_rule(flavor):
    *_, lists = PAGE.read_text().partition("Layers that come before any filter")
    listed = {word for word in re.findall(r"\w+", lists) if hasattr(flavor.layers, word)}
    assert listed == _without_rule(flavor)
