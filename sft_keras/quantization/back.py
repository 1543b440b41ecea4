"""The way back: what a quantized model learned, in a copy of the model that it was made from."""

from typing import Any, NamedTuple

import numpy as np
import tf_keras

from sft_keras import flavors
from sft_keras.cloning import clone
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import equality
from sft_keras.quantization.affine import Affine
from sft_keras.quantization.passes import PASSES, affine_backward, affine_forward
from sft_keras.quantization.passes.affine_backward import SCALED
from sft_keras.quantization.passes.affine_forward import FOLDED
from sft_keras.quantization.port import port
from sft_keras.quantization.problem import Problem, require_none
from sft_keras.quantization.unfolding import normalization, without_before, without_behind

# Their weights are constants of the model, which quantize freezes.
CONSTANT = ("Normalization", "LayerScale", "RMSNormalization")


def copy_back(trained: tf_keras.Model, model: Any) -> Any:
    """Copies what quantization-aware training learned into a copy of the original model.

    The copy computes what the trained model does without rounding. A convolution or Dense gets the
    trained kernel, in which `quantize` had folded BatchNormalization; the BatchNormalization
    behind it is left with the bias. A layer without a bias gets one where no neighbour can hold it.

    Args:
        trained: what `quantize(model)` returned, trained or not.
        model: the model that was quantized, with the weights that it had then; it is not changed.

    Returns:
        A copy of `model`, not compiled.

    Raises:
        UnsupportedError: `trained` was not made from `model`, or a layer was rebuilt into others
            that it cannot be read from (it is named).

    Example:
        >>> qat = sft_keras.quantize(model)
        >>> qat.fit(train, epochs=3)
        >>> float_model = sft_keras.quantization.copy_back(qat, model)
    """
    rewriting = _rewriting(model)
    _take(trained, rewriting.result, model)
    copy = _copy(model, _Reader(model, rewriting).weights)
    equality.require_equal(copy, rewriting.result, "copy_back")
    return copy


class _Rewriting(NamedTuple):
    """How `quantize` rewrote a model.

    Args:
        names: of the port of each layer, by the layer's id.
        unfolded: the port just before the folds.
        behind: by the layer's name, the Affine behind it that it took up.
        before: by the layer's name, the Affine before it that it took up.
        result: what `quantize` wraps.
    """

    names: dict[int, str]
    unfolded: tf_keras.Model
    behind: dict[str, Affine]
    before: dict[str, Affine]
    result: tf_keras.Model


def _rewriting(model: Any) -> _Rewriting:
    names: dict[int, str] = {}
    problems: list[Problem] = []
    unfolded = result = port(model, problems, names)
    require_none(problems, model.name)
    behind: dict[Any, Affine] = {}
    before: dict[Any, Affine] = {}
    for rewrite in PASSES:
        if rewrite is affine_backward.fold_backward:
            unfolded, behind = result, affine_backward.folds(result)
        if rewrite is affine_forward.fold_forward:
            before = affine_forward.folds(result)
        result = rewrite(result)
    return _Rewriting(names, unfolded, _by_name(behind), _by_name(before), result)


def _by_name(folds: dict[Any, Affine]) -> dict[str, Affine]:
    return {layer.name: affine for layer, affine in folds.items()}


def _take(trained: Any, rewritten: tf_keras.Model, model: Any) -> None:
    """Gives the rewritten model the trained weights: it is `trained` without its quantizers."""
    # Here TFMOT is needed for the first time; importing it takes seconds.
    from sft_keras.quantization.tfmot import weights_inside

    wrappers = {layer.name: layer for layer in trained.layers}
    for layer in rewritten.layers:
        if not layer.weights:
            continue
        values = weights_inside(wrappers[layer.name], layer) if layer.name in wrappers else []
        if [w.shape for w in values] != [tuple(w.shape) for w in layer.weights]:
            raise UnsupportedError(
                f"Layer '{layer.name}' of quantize('{model.name}') is not in the trained model "
                f"'{trained.name}'; pass the model that was quantized, with its weights of then."
            )
        layer.set_weights(values)


class _Reader:
    """Finds new weights for the layers of the original, by the layer's id."""

    def __init__(self, model: Any, rewriting: _Rewriting):
        self.weights: dict[int, list[np.ndarray]] = {}
        self._rewriting = rewriting
        self._open = {x.name: x for x in rewriting.unfolded.layers}
        self._trained = {x.name: x for x in rewriting.result.layers if x.weights}
        self._norms = {self._name(x): x for x in _leaves(model) if _is_norm(x)}
        for layer in _leaves(model):
            if layer.weights and not _is_norm(layer) and type(layer).__name__ not in CONSTANT:
                self.weights[id(layer)] = self._read(layer)
        for name, norm in self._norms.items():
            if id(norm) not in self.weights:
                self._read_leftover(name, norm)

    def _name(self, layer: Any) -> str:
        return self._rewriting.names.get(id(layer), layer.name)

    def _read(self, layer: Any) -> list[np.ndarray]:
        name = self._name(layer)
        stages = [name if self._has_weights(name) else f"{name}_linear"]
        if type(layer).__name__.startswith("Separable"):
            stages = [f"{stages[0]}_depthwise", stages[0]]
        if not all(map(self._has_weights, stages)) or flavors.parts(layer):
            raise _refusal(layer)
        if type(self._open[stages[0]]) not in SCALED:
            return self._values(layer, *stages)
        kernel, bias = self._stage(layer, stages[0])
        kernels = [kernel]
        for stage in stages[1:]:
            kernel, bias = self._stage(layer, stage, bias)
            kernels.append(kernel)
        return [*kernels, bias] if layer.use_bias or bias.any() else kernels

    def _has_weights(self, name: str) -> bool:
        return name in self._open and bool(self._open[name].weights)

    def _values(self, layer: Any, *names: str) -> list[np.ndarray]:
        """The trained weights of the layer that has one of these names now."""
        lifted = [f"{name}_2d" for name in names]
        found = [self._trained[name] for name in (*names, *lifted) if name in self._trained]
        if not found:
            raise _refusal(layer)
        return [w.astype("float64") for w in found[0].get_weights()]

    def _stage(self, layer: Any, name: str, entering: Any = None) -> tuple:
        """Kernel and bias of one linear layer, whose input lacks the bias `entering` now."""
        before, behind = (self._rewriting.before, self._rewriting.behind)
        part, after = self._open[name], behind.get(name)
        # What made an output has the name of what was folded into it.
        names = [name, after.name] if after else [name]
        kernel, *biases = self._values(layer, *names)
        kernel = kernel.reshape(part.weights[0].shape)
        bias = biases[0] if biases else np.zeros(part.get_output_at(0).shape[-1])
        first = next((before[x] for x in names if x in before), None)
        lost = part.get_weights()[1] if part.use_bias else 0.0
        if first is not None and self._keep(first, 1.0, 0.0):
            lost = lost + FOLDED[type(part)](part.get_weights()[0], *first.get_weights())[1]
        elif first is not None:
            kernel, bias = without_before(type(part), kernel, bias, first)
        if entering is not None:
            bias = bias + entering @ kernel.reshape(len(entering), -1)
        if after is None:
            return kernel, bias
        if self._keep(after, 1.0, bias, lost):
            return kernel, np.zeros_like(bias)
        return without_behind(type(part), kernel, bias, after)

    def _keep(self, affine: Affine, scale: Any, shift: Any, lost: Any = None) -> bool:
        """Leaves a scale and shift to a BatchNormalization, if that is what `affine` was.

        Where the layer before it keeps the folded kernel and has lost a constant, its statistics
        become those of what that layer gives it now, before the training that `affine` did not see.
        """
        norm = self._norms.get(affine.name)
        if norm is None:
            return False
        mean, variance = _statistics(norm)
        if lost is not None:
            folded = affine.get_weights()[0].astype("float64")
            mean, variance = (mean - lost) * folded, variance * np.square(folded)
        scale, shift = (np.broadcast_to(x, mean.shape) for x in (scale, shift))
        self.weights[id(norm)] = normalization(norm, scale, shift, mean, variance)
        return True

    def _read_leftover(self, name: str, norm: Any) -> None:
        scale, shift = (w.ravel() for w in self._values(norm, name, f"{name}_scale"))
        self.weights[id(norm)] = normalization(norm, scale, shift, *_statistics(norm))


def _leaves(layer: Any) -> list:
    """The layers of a model, those of nested models too, each once."""
    if not flavors.is_model(layer):
        return [layer]
    return list({id(x): x for part in layer.layers for x in _leaves(part)}.values())


def _is_norm(layer: Any) -> bool:
    return type(layer).__name__ == "BatchNormalization"


def _statistics(norm: Any) -> list[np.ndarray]:
    moving = (norm.moving_mean, norm.moving_variance)
    return [np.asarray(flavors.to_numpy(x), "float64") for x in moving]


def _refusal(layer: Any) -> UnsupportedError:
    return UnsupportedError(
        f"Layer '{layer.name}' ({type(layer).__name__}) was rebuilt into others, which its weights "
        "cannot be read from; copy back a model without it."
    )


def _copy(model: Any, weights: dict[int, list[np.ndarray]]) -> Any:
    """A copy of a model with some layers' weights new, and a bias where one is new."""

    def config_of(layer: Any) -> dict:
        gains_bias = id(layer) in weights and len(weights[id(layer)]) > len(layer.weights)
        return {**flavors.config(layer), **({"use_bias": True} if gains_bias else {})}

    copy = clone(model, config_of)
    flavors.freeze_like(copy, model)
    for old, new in zip(_leaves(model), _leaves(copy), strict=True):
        new.set_weights(weights[id(old)] if id(old) in weights else old.get_weights())
    return copy
