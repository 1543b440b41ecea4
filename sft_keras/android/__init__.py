"""Files for phones: a `.tflite` file that says what it takes, and Kotlin that runs it."""

from sft_keras.android.metadata import Metadata, TensorMetadata, read_metadata, with_metadata
from sft_keras.android.project import export

__all__ = ["Metadata", "TensorMetadata", "export", "read_metadata", "with_metadata"]
