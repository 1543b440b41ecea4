"""What was made of which layer of the user's model, under names that are free."""

import itertools
import weakref
from collections.abc import Iterable
from typing import Any

from keras import tree

from sft_keras import flavors

_ORIGINS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def origin(layer: Any) -> str | None:
    """The path, `model/layer` in a nested model, of what a layer was made of; None if unknown."""
    return _ORIGINS.get(layer)


class Lineage:
    """Follows a graph that is made anew, call by call.

    Args:
        layers: those of the old graph that may be called in the new one as they are.
    """

    def __init__(self, layers: Iterable[Any] = ()):
        self._old = set(layers)
        self._kept: dict[Any, None] = {}
        self._made: dict[Any, str] = {}  # each with the name of what it was made of
        self._known: dict[int, Any] = {}  # tensors, held so that no other gets the id

    def follow(self, given: Any, made: Any, name: str, path: str | None) -> None:
        """Notes whose place the layers between two sets of tensors take.

        Args:
            given: the arguments of a call of the old graph, with tensors of the new one.
            made: what was made of them.
            name: of the layer in the old graph.
            path: the origin of that layer.
        """
        self._known.update((id(x), x) for x in _tensors(given))
        waiting = _tensors(made)
        while waiting:
            x = waiting.pop()
            if id(x) in self._known:
                continue
            self._known[id(x)] = x
            maker = flavors.producer(x)
            if flavors.is_input_layer(maker):
                continue
            if maker in self._old:
                self._kept[maker] = None
            elif maker not in self._made:
                self._made[maker] = name
                if path is not None:
                    _ORIGINS[maker] = path
            waiting += flavors.producing_call(x).inputs

    def name_apart(self) -> None:
        """Gives layers that were made, and are in no model yet, names of their own.

        The name of a layer that is gone belongs first to what was made of it.
        """
        used = {layer.name for layer in self._kept}
        first = [layer for layer, name in self._made.items() if layer.name == name]
        for layer in dict.fromkeys([*first, *self._made]):
            if layer.name in used:
                numbered = (f"{layer.name}_{number}" for number in itertools.count(1))
                flavors.rename(layer, next(name for name in numbered if name not in used))
            used.add(layer.name)


def _tensors(structure: Any) -> list:
    return [x for x in tree.flatten(structure) if flavors.is_symbolic(x)]
