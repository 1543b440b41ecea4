"""One small adapter a runtime: load a file, then run it on one sample after the other."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

# Takes one sample an input, with batch axis, and returns one array an output.
Step = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

MICRO_ARENA = 64 << 20  # bytes; more than any microcontroller has, and untouched memory is free


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A runtime as `verify` knows it.

    Attributes:
        name: what tables and flags call it.
        package: the module it is imported from.
        load: imports the runtime, loads a file's bytes and returns a `Step`.
    """

    name: str
    package: str
    load: Callable[[bytes], Step]

    def available(self) -> bool:
        """Whether the runtime's package is installed; does not import it."""
        return importlib.util.find_spec(self.package) is not None


def tflite_interpreter(package: str, resolver: str, threads: int = 1) -> Callable[[bytes], Step]:
    """A loader for the interpreter that LiteRT and tflite-runtime share.

    Args:
        package: `"ai_edge_litert"` or `"tflite_runtime"`.
        resolver: a name in `OpResolverType`: which kernels to use.
        threads: CPU threads.
    """

    def load(content: bytes) -> Step:
        module = importlib.import_module(f"{package}.interpreter")
        interpreter = module.Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=module.OpResolverType[resolver],
        )
        interpreter.allocate_tensors()
        inputs = [details["index"] for details in interpreter.get_input_details()]
        outputs = [details["index"] for details in interpreter.get_output_details()]

        def step(sample: Sequence[np.ndarray]) -> list[np.ndarray]:
            for index, value in zip(inputs, sample, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.reset_all_variables()  # in which an LSTM would remember the last sample
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        return step

    return load


def micro_interpreter(content: bytes, arena: int = MICRO_ARENA) -> Step:
    """Loads a file into TFLite Micro's interpreter.

    Args:
        content: the file's bytes.
        arena: bytes of the tensor arena.
    """
    from tflite_micro import runtime

    from sft_keras.tflite import schema

    graph = schema.read(content).subgraphs[0]
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)

    def step(sample: Sequence[np.ndarray]) -> list[np.ndarray]:
        interpreter.reset()
        for index, value in enumerate(sample):
            interpreter.set_input(value, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(len(graph.outputs))]

    return step


# TFLite Micro's kernels are the reference kernels of tflite-runtime 2.14, bit for bit on conv nets.
RUNTIMES = (
    Runtime("litert", "ai_edge_litert", tflite_interpreter("ai_edge_litert", "AUTO")),
    Runtime("litert-ref", "ai_edge_litert", tflite_interpreter("ai_edge_litert", "BUILTIN_REF")),
    Runtime("tflite-runtime", "tflite_runtime", tflite_interpreter("tflite_runtime", "AUTO")),
    Runtime(
        "tflite-runtime-ref",
        "tflite_runtime",
        tflite_interpreter("tflite_runtime", "BUILTIN_REF"),
    ),
    Runtime("tflm", "tflite_micro", micro_interpreter),
)
