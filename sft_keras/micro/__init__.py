"""Files for a microcontroller: a `.tflite` file as C++ for TFLite Micro."""

from sft_keras.micro.firmware import export
from sft_keras.micro.memory import OperatorMemory, memory_by_operator
from sft_keras.micro.npu import ACCELERATORS, EthosU, EthosUReport, ethos_u

__all__ = [
    "ACCELERATORS",
    "EthosU",
    "EthosUReport",
    "OperatorMemory",
    "ethos_u",
    "export",
    "memory_by_operator",
]
