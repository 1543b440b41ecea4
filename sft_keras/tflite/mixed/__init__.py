"""Files whose layers compute in different dtypes.

The converter knows one dtype for a whole model. So the model is split by dtype, each part is
converted by itself, and the parts are joined in one file with operators that convert between them.
"""

from sft_keras.tflite.mixed.conversion import chosen_names, convert

__all__ = ["chosen_names", "convert"]
