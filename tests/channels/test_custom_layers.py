"""The example of a rule for a custom layer in the docs runs as it is printed there."""

import re
from pathlib import Path

import pytest

import sft_keras
from sft_keras.channels import registry

PAGE = Path(__file__).parents[2] / "docs" / "custom_layers.md"


def _example():
    return re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture(autouse=True)
def _no_rules_stay(monkeypatch):
    monkeypatch.setattr(registry, "_CUSTOM", {})


def test_example_in_the_docs():
    names = {}
    exec(_example(), names)
    assert names["small"].get_layer("conv").filters == 8
    assert sft_keras.channel_groups(names["model"]).prunable.sum() == 16


def test_the_last_axis_is_minus_one_for_weights_too():
    names = {}
    assert ".gain, 0, ids" in _example()
    exec(_example().replace(".gain, 0, ids", ".gain, -1, ids"), names)
    model = names["model"]
    sft_keras.mask(model, sft_keras.plan(model, 0.5))
    assert sft_keras.shrink(model).get_layer("scale").gain.shape == (8,)


def test_without_the_rule_the_page_quotes_the_reason():
    names = {}
    exec(_example(), names)
    registry._CUSTOM.clear()
    reason = sft_keras.channel_groups(names["model"]).groups[0].reason
    assert f"`{reason}`" in PAGE.read_text(encoding="utf-8")
