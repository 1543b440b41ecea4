"""Convolutional recurrent layers: an LSTM whose kernels are those of convolutions."""

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.recurrent import claim_cell, emitted, sources
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace


@builtin_rule("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def conv_lstm(walk: Trace, call: flavors.Call, *inputs: Channels) -> list[Channels]:
    """ConvLSTM; only its input's convolution can have a border that constants do not fit."""
    layer = call.layer
    rank = len(layer.kernel_size)
    axis = -1 - rank if layer.data_format == "channels_first" else -1
    sequence, starts = sources(walk, call, inputs)
    exact = layer.padding == "valid" or all(size == 1 for size in layer.kernel_size)
    filters = claim_cell(walk, layer, layer.cell, *walk.vector(sequence, axis, layer), exact)
    walk.width(layer, "filters", filters)
    return emitted(walk, call, [filters, filters], starts, axis)
