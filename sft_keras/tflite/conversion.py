"""`convert`: a Keras model in, a checked `.tflite` file out."""

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from sft_keras import flavors
from sft_keras.errors import ConversionError, DataError, UnsupportedError
from sft_keras.tflite import child, converter, gate, mixed
from sft_keras.tflite.data import Slot, batches
from sft_keras.tflite.lite_model import LiteModel

CALIBRATION_SAMPLES = 500  # more only costs time: ranges hardly move after some hundred


def convert(
    model: Any,
    representative_data: Any = None,
    *,
    dtype: str = "int8",
    input_dtype: str | None = None,
    output_dtype: str | None = None,
    target: str = "tflm",
    layer_dtypes: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> LiteModel:
    """Converts a model to `.tflite` and refuses a file that a device could not run.

    The converter runs in a child process, because it can crash; starting it takes some seconds.
    The batch is fixed at 1, and inputs and outputs keep their order and the layers' names.

    With `representative_data` a plain model is quantized after training. It is first rewritten
    into an equal one that the converter takes: recurrent layers that TFLite has no operator for
    are unrolled, for one.

    Args:
        model: a Keras 3 or tf_keras model: what `sft_keras.quantize` returned, or a plain one
            together with `representative_data` or a float `dtype`.
        representative_data: typical inputs, for post-training quantization of a plain model:
            arrays, a `tf.data.Dataset`, a `PyDataset`, a function that returns a generator of
            batches, with or without labels. The first 500 samples are used.
        dtype: what the file computes in. `"int8"`; `"int16x8"`: int16 activations and int8
            weights, of a plain model; `"dynamic"`: float activations and int8 weights;
            `"float16"`: float activations and float16 weights; `"float32"`.
        input_dtype: `"int8"`, `"uint8"` (pixels) or `"float32"` for a file in int8, `"int16"` or
            `"float32"` for one in int16x8; defaults to the first. Inputs of integers, such as
            tokens, stay int32.
        output_dtype: likewise.
        target: what runs the file, such as `"tflm"`, `"litert"` or `"tflite-runtime-2.14"`;
            `check` lists them. Operators that it lacks are refused in a file of int8 or int16x8.
            For `"tflm"` all outputs of a Dense share one range, for versions before September 2024
            misread others.
        layer_dtypes: layers that compute in another dtype, `"int8"`, `"int16x8"` or `"float32"`,
            by name, pattern or path: `{"left/head": "float32"}`. They must be so, and no others, to
            pass the gate. For a model that is quantized after training; one from
            `sft_keras.quantize` knows which of its layers stayed float.
        timeout: seconds after which the converter is stopped.

    Returns:
        A `LiteModel`.

    Raises:
        ArgumentError: `layer_dtypes` names a layer that there is not.
        UnsupportedError: the model is of a kind that cannot be converted, has nothing to quantize
            by, or comes from `sft_keras.quantize` and was not trained.
        DataError: `representative_data` does not fit the model.
        ConversionError: the converter failed, crashed or ran out of time.
        GateError: the file has float tensors, operators that the target lacks, or dead layers.

    Example:
        >>> lite = sft_keras.convert(qat)
        >>> lite = sft_keras.convert(model, representative_data=x_train)
        >>> lite.save("model.tflite")
    """
    calibrated = representative_data is not None
    promise = gate.Promise(dtype, target, input_dtype, output_dtype, calibrated=calibrated)
    flavors.require_tensorflow("convert()")
    _require_convertible(model)
    chosen = mixed.chosen_names(model, layer_dtypes or {}, dtype, calibrated)
    samples = None
    if dtype in converter.CALIBRATED and calibrated:
        _require_quantizable(model, chosen)
        samples = _collect(model, representative_data)
    started = time.monotonic()
    lite, promise = _converted(model, promise, chosen, samples, timeout)
    logging.info("Converted %r in %.1f s.", lite, time.monotonic() - started)
    gate.check(lite, promise)
    return lite


def _converted(
    model: Any,
    promise: gate.Promise,
    chosen: Mapping[str, str],
    samples: list[np.ndarray] | None,
    timeout: float,
) -> tuple[LiteModel, gate.Promise]:
    """The file of a model, or of an equal one that the converter takes sooner."""
    # Only here, for TFMOT need not be installed to convert a float model.
    from sft_keras.quantization.deployment import candidates
    from sft_keras.quantization.layer_dtypes import of_rewritten
    from sft_keras.quantization.ranges import require_trained

    require_trained(model)
    for candidate in candidates(model, calibrated=samples is not None):
        try:
            if chosen:
                dtypes = of_rewritten(candidate, model, chosen)
                return mixed.convert(candidate, dtypes, promise, samples, timeout)
            return converter.run(candidate, promise, samples, timeout), promise
        except child.ChildError as error:
            failure = error
            logging.warning("The TFLite converter gave up on '%s': %s.", candidate.name, error)
    raise ConversionError(
        f"The TFLite converter gave up on model '{model.name}': {failure}. If it ran out of time, "
        "raise timeout=; dtype='float32' tells whether quantization is the cause."
    ) from failure


def _require_convertible(model: Any) -> None:
    from sft_keras.quantization import limits

    flavors.require_graph(model)
    if not flavors.is_tf_keras(model) and keras.backend.backend() != "tensorflow":
        raise UnsupportedError(
            f"Model '{model.name}' runs on Keras' {keras.backend.backend()} backend; pass it "
            "through sft_keras.quantize(model), or set KERAS_BACKEND=tensorflow."
        )
    for name, shape in flavors.open_inputs(model).items():
        raise UnsupportedError(
            f"Input '{name}' of model '{model.name}' has the dynamic shape {shape}; give its Input "
            "fixed sizes."
        )
    for layer in limits.layers(model):
        if flavors.is_recurrent(layer) and getattr(layer, "stateful", False):
            raise UnsupportedError(
                f"Layer '{layer.name}' is stateful, and a file keeps no state of it; build it "
                "without, and give its states to the model as inputs and outputs."
            )
    for layer in model.layers:
        if not all(np.isfinite(weights).all() for weights in layer.get_weights()):
            raise UnsupportedError(
                f"Layer '{layer.name}' has NaN or infinite weights; train again with a lower "
                "learning rate, or load sound weights."
            )


def _require_quantizable(model: Any, chosen: Mapping[str, str]) -> None:
    from sft_keras.quantization import limits, masking
    from sft_keras.quantization.problem import require_none

    floats = {name for name, dtype in chosen.items() if dtype == "float32"}
    found = [*limits.problems(model, floats), *masking.problems(model, floats)]
    require_none(found, model.name)


def _slots(model: Any) -> list[Slot]:
    return [
        Slot(flavors.producer(x).name, tuple(x.shape[1:]), flavors.dtype_name(x))
        for x in flavors.inputs(model)
    ]


def _require_known_tokens(model: Any, samples: Mapping[str, np.ndarray]) -> None:
    """Refuses numbers that an Embedding has no row for, on which the converter fails."""
    tokens = {id(x): flavors.producer(x).name for x in flavors.inputs(model)}
    for call in flavors.calls(model):
        name = tokens.get(id(call.inputs[0])) if call.inputs else None
        if name is None or type(call.layer).__name__ != "Embedding":
            continue
        least, most = samples[name].min(), samples[name].max()
        if least < 0 or most >= call.layer.input_dim:
            raise DataError(
                f"The data for input '{name}' holds {least} to {most}, and Embedding "
                f"'{call.layer.name}' knows 0 to {call.layer.input_dim - 1}; give its tokens."
            )


def _collect(model: Any, data: Any) -> list[np.ndarray]:
    """Calibration samples of each input, with the whole range of bytes where it takes them."""
    from sft_keras.quantization import pixels

    slots, bytes_in = _slots(model), pixels.pixel_inputs(model)
    parts = [batch.inputs for batch in batches(data, slots, limit=CALIBRATION_SAMPLES)]
    columns = zip(slots, zip(*parts, strict=True), strict=True)
    samples = [(slot, np.concatenate(column).astype(slot.dtype)) for slot, column in columns]
    _require_known_tokens(model, {slot.name: x for slot, x in samples})
    return [pixels.pinned(x) if slot.name in bytes_in else x for slot, x in samples]
