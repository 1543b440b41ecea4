"""Which tensor of a `.tflite` file holds the output of which layer.

The converter names a tensor after the operations that it merged, joined by `;`: a convolution that
took up BatchNormalization and ReLU holds what the ReLU gives. So a tensor belongs to the last layer
that its name names, and to no other; a layer whose operations went into another's tensor has none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sft_keras import flavors
from sft_keras.tflite.layer_outputs import LayerOutput, LayerOutputs
from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.schema import Tensor

NO_TENSOR = "no tensor of its own"
UNSURE = "no tensor that is its own for certain"
SHARED = "shared, and the file does not tell its calls apart"
TFMOT_PREFIX, LIFTED_SUFFIX = "quant_", "_2d"  # what quantization adds to layers' names
# What `quantize` folds into the convolution or Dense before it, and that layer keeps its name.
AFFINE_LAYERS = ("BatchNormalization", "Normalization", "Rescaling")
AFFINE_OPERATORS = ("add", "subtract", "multiply", "divide")
# The operations of a layer before its bias is added; the converter may do that one layer later.
PRODUCT = re.compile(
    r"Conv\dD|conv2d_transpose|depthwise|separable_conv2d|MatMul|Tensordot|batchnorm/(?!add_1)"
)
SCALED = re.compile(r"(Depthwise|Separable)?Conv\d?D(Transpose)?|Dense")


class Matching(NamedTuple):
    """Every output of a model's layers is in one of the two.

    Attributes:
        tensors: the tensor that holds an output.
        fused: why an output has none.
    """

    tensors: dict[LayerOutput, Tensor]
    fused: dict[LayerOutput, str]


class _Held(NamedTuple):
    owner: LayerOutput
    tensor: Tensor
    is_certain: bool = True


def match(lite: LiteModel, outputs: LayerOutputs) -> Matching:
    """Finds the tensors by name, and takes only those whose shape is the layer's.

    Args:
        lite: the file.
        outputs: the layers of the model.

    Returns:
        A `Matching`.
    """
    held = _held(lite, outputs)
    calls = Counter(output.path for output in outputs.all)
    found = Matching({}, {})
    for output in outputs.all:
        last = held.get(output)
        if last and last.is_certain and last.owner is output and _fits(last.tensor, output):
            found.tensors[output] = last.tensor
        else:
            found.fused[output] = _reason(output, last, calls[output.path] > 1)
    return found


def paired(tensors: Sequence[Tensor], outputs: Sequence[LayerOutput]) -> list[LayerOutput] | None:
    """The inputs or outputs of a model in the order of a file's.

    Args:
        tensors: inputs or outputs of the file.
        outputs: those of the model.

    Returns:
        One of `outputs` for each of `tensors`; None where names and shapes do not tell.
    """
    if len(tensors) != len(outputs):
        return None
    # Two of one layer are told apart by numbers, which the order gives.
    if not all(map(_bears_name, tensors, outputs)) and len(tensors) > 1:
        by_name = {_plain(output): output for output in outputs}
        if by_name.keys() != {tensor.name for tensor in tensors}:
            return None
        outputs = [by_name[tensor.name] for tensor in tensors]
    return list(outputs) if all(map(_fits, tensors, outputs)) else None


def _fits(tensor: Tensor, output: LayerOutput) -> bool:
    """Whether the two shapes differ by axes of size 1 at most, as those of a lifted sequence do."""
    return [n for n in tensor.shape[1:] if n != 1] == [n for n in output.shape if n != 1]


def _bears_name(tensor: Tensor, output: LayerOutput) -> bool:
    return re.fullmatch(rf"{_plain(output)}(_\d+)?", tensor.name) is not None


def _plain(output: LayerOutput) -> str:
    return re.sub(r"\W", "_", output.path[-1].removeprefix(TFMOT_PREFIX))


def _held(lite: LiteModel, outputs: LayerOutputs) -> dict[LayerOutput, _Held]:
    """The last tensor that names each output, and the output that this tensor belongs to."""
    folds = _folds(outputs)
    names = _Names(lite, outputs, folds)
    order = {output: i for i, output in enumerate(outputs.all)}
    # QUANTIZE gives the same values in other steps, for a reader that wants them so.
    operators = [op for op in lite.file.subgraphs[0].operators if op.name != "QUANTIZE"]
    named = {x: found for op in operators for x in op.outputs if (found := names.of(x))}
    seen = {output for found in named.values() for output in found}
    # The names of the file's outputs do not tell what was merged into them.
    untold = {x for output in outputs.outputs for x in output.inputs}
    held = {output: _Held(output, tensor) for tensor, output in names.signed.items()}
    for tensor, found in named.items():
        owner = max(found, key=order.__getitem__)
        is_certain = found[owner]
        folded = folds.get(owner)
        if folded and folded not in seen:
            owner = folded
            is_certain &= names.has_plain_scope(tensor) and folded not in untold
        for output in {**found, owner: True}:
            # A tensor may also bear the name of weights that an earlier call made first.
            if output is owner or output.layer is not owner.layer:
                held[output] = _Held(owner, tensor, is_certain)
    return {**{reader: held[x] for x, reader in folds.items() if x in held}, **held}


def _folds(outputs: LayerOutputs) -> dict[LayerOutput, LayerOutput]:
    """Where `quantize` makes one layer of two, under the first's name: the second of the two."""
    readers = _single_readers(outputs)
    return {x: reader for x, reader in readers.items() if _scales(x.layer) and _is_affine(reader)}


def _single_readers(outputs: LayerOutputs) -> dict[LayerOutput, LayerOutput]:
    """For each output that one other alone is computed from: that other."""
    reads = [(x, reader) for reader in outputs.all for x in reader.inputs]
    counts = Counter([*(x for x, _ in reads), *outputs.outputs])
    return {x: reader for x, reader in reads if counts[x] == 1}


def _scales(layer: Any) -> bool:
    """Whether a layer can take up a scale and a shift behind it."""
    function = flavors.argument(layer, "activation")
    is_linear = getattr(function, "__name__", "linear") == "linear"
    return is_linear and SCALED.fullmatch(type(layer).__name__) is not None


def _has_bias(output: LayerOutput) -> bool:
    """Whether a layer may add something at its end."""
    if flavors.is_operator(output.layer):
        return flavors.operator_name(output.layer) not in ("multiply", "divide")
    return flavors.argument(output.layer, "use_bias") is not False


def _is_affine(output: LayerOutput) -> bool:
    if flavors.is_operator(output.layer):
        name = flavors.operator_name(output.layer)
        return name in AFFINE_OPERATORS and len(output.inputs) == 1
    return type(output.layer).__name__ in AFFINE_LAYERS


def _reason(output: LayerOutput, last: _Held | None, is_shared: bool) -> str:
    if last:
        return UNSURE if last.owner is output else f"fused into {last.owner.name}"
    return SHARED if is_shared else NO_TENSOR


class _Names:
    """Reads the names of tensors.

    Args:
        lite: the file.
        outputs: the layers of the model.
        folds: see `_folds`.

    Attributes:
        signed: the outputs that the file's inputs and outputs are, named by its signature.
    """

    def __init__(self, lite: LiteModel, outputs: LayerOutputs, folds: dict):
        graph = lite.file.subgraphs[0]
        self.signed: dict[Tensor, LayerOutput] = {}
        for tensors, ends in ((graph.inputs, outputs.inputs), (graph.outputs, outputs.outputs)):
            self.signed.update(zip(tensors, paired(tensors, ends) or [], strict=False))
        self._operations = outputs.operations()
        self._scopes = _by_scope(self._operations)
        self._layers = _by_layer(outputs)
        self._plain_scope = outputs.model.name
        self._folds = folds

    def of(self, tensor: Tensor) -> dict[LayerOutput, bool]:
        """The outputs that a tensor's name names, and whether it names the end of each."""
        if tensor in self.signed:
            return {self.signed[tensor]: True}
        found: dict[LayerOutput, bool] = {}
        for part in tensor.name.split(";"):
            for output, is_end in self._of_part(part):
                found[output] = found.get(output, False) or is_end
        return found

    def has_plain_scope(self, tensor: Tensor) -> bool:
        """Whether the scopes in a tensor's name are plain names, as tf_keras writes them.

        Those of Keras 3 have numbers behind, which could be another layer's: `conv_1` of `conv`.
        """
        return tensor.name.partition("/")[0] == self._plain_scope

    def _of_part(self, part: str) -> Iterator[tuple[LayerOutput, bool]]:
        # The converter adds digits to a name that it has given already, to weights for instance.
        for name in (part, part.rstrip("0123456789")):
            if name in self._operations:
                yield self._operations[name], True
                return
        scope, *inner = part.split("/")
        if scope == self._plain_scope:
            yield from self._of_plain_scopes(inner)
            return
        for count in range(1, len(inner)):
            name = "/".join([scope, *inner[:count]])
            if name in self._scopes:
                yield self._scopes[name], False
                return

    def _of_plain_scopes(self, scopes: list[str]) -> Iterator[tuple[LayerOutput, bool]]:
        if not scopes or scopes[-1].startswith("FakeQuant"):
            return
        for count in range(1, len(scopes)):
            name = "/".join(scopes[:count])
            for alias in (name, name.removeprefix(TFMOT_PREFIX), name.removesuffix(LIFTED_SUFFIX)):
                if alias in self._layers:
                    output = self._layers[alias]
                    is_product = PRODUCT.match("/".join(scopes[count:])) is not None
                    has_more = output in self._folds or _has_bias(output)
                    yield output, not (is_product and has_more)
                    return


def _by_scope(operations: dict[str, LayerOutput]) -> dict[str, LayerOutput]:
    """Outputs by the scopes that Keras 3 opened for the calls of their layers."""
    found = {}
    for name, output in operations.items():
        scopes = name.split("/")
        depth = 1 + len(output.path)  # the outermost is the model's
        if len(scopes) > depth and not flavors.is_operator(output.layer):
            found["/".join(scopes[:depth])] = output
    return found


def _by_layer(outputs: LayerOutputs) -> dict[str, LayerOutput]:
    """Outputs by their layers' names, where a name means one output only."""
    calls = Counter(output.path for output in outputs.all)
    once = [output for output in outputs.all if calls[output.path] == 1]
    # `quantize` flattens nested models: a layer keeps its name where it is free.
    short = Counter(output.path[-1] for output in outputs.all)
    found = {o.path[-1]: o for o in once if short[o.path[-1]] == 1}
    found |= {"_".join(output.path): output for output in once}
    return found | {"/".join(output.path): output for output in once}
