"""What is wrong in files of the converter, mended."""

from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import masks, overwriting, ranges, unused
from sft_keras.tflite.packing import packed


def mended(content: bytes) -> bytes:
    """A file whose numbers are the same on every runtime.

    Args:
        content: a `.tflite` file.

    Returns:
        The bytes of a file with the same ends; `content` itself if nothing is to be changed.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    if narrowed := masks.narrow(model):
        unused.remove(model)
    in_range = packed(model) if ranges.mend(model) or narrowed else content
    kept, _ = overwriting.mended(in_range)
    return kept
