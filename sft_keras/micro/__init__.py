"""Files for a microcontroller: a `.tflite` file as C++ for TFLite Micro."""

from sft_keras.micro.export import export
from sft_keras.micro.memory import OperatorMemory, memory_by_operator

__all__ = ["OperatorMemory", "export", "memory_by_operator"]
