"""Runs a .tflite classifier on a board, with numpy and tflite-runtime alone.

    pip install "numpy<2" tflite-runtime        # or: pip install ai-edge-litert
    python raspberry_pi.py model.tflite samples.npy --labels=labels.txt

`samples.npy` holds one sample or several, as numbers that the model was trained on (`numpy.save`
writes such files). Copy this script to the board; it needs nothing else of sft_keras.
"""

import argparse
import pathlib
import time

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter


def quantize(values: np.ndarray, details: dict) -> np.ndarray:
    """Real numbers as an input of the file takes them."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    steps = np.round(values / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(details["dtype"])


def dequantize(steps: np.ndarray, details: dict) -> np.ndarray:
    """What an output of the file stands for as real numbers."""
    scale, zero_point = details["quantization"]
    return (steps.astype(np.float32) - zero_point) * scale if scale else steps


def load_samples(path: str, shape: np.ndarray) -> np.ndarray:
    """Samples of the shape that the model takes, without its batch axis."""
    samples = np.load(path, allow_pickle=False)
    if samples.shape == tuple(shape):
        samples = samples[None]
    if samples.shape[1:] != tuple(shape):
        raise SystemExit(f"{path} has shape {samples.shape}; the model takes (n, *{tuple(shape)}).")
    return samples


def main() -> None:
    """Prints the likeliest labels of each sample, and how long one takes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="the .tflite file")
    parser.add_argument("samples", help="a .npy file")
    parser.add_argument("--labels", help="text file, one label a line")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--top", type=int, default=3, help="labels to print; default: 3")
    args = parser.parse_args()

    interpreter = Interpreter(model_path=args.model, num_threads=args.threads)
    interpreter.allocate_tensors()
    (image,), (scores, *_) = interpreter.get_input_details(), interpreter.get_output_details()
    count = int(scores["shape"][-1])
    labels = [*map(str, range(count))]
    if args.labels:
        labels = pathlib.Path(args.labels).read_text(encoding="utf-8").splitlines()
        if len(labels) != count:
            raise SystemExit(f"{args.labels} has {len(labels)} labels, the model {count} outputs.")

    seconds = []
    for sample in load_samples(args.samples, image["shape"][1:]):
        interpreter.set_tensor(image["index"], quantize(sample[None], image))
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
        found = dequantize(interpreter.get_tensor(scores["index"])[0], scores)
        best = np.argsort(found)[::-1][: args.top]
        print("  ".join(f"{labels[i]} {found[i]:.3f}" for i in best))
    print(f"median of {len(seconds)} runs: {1e3 * np.median(seconds):.3f} ms")


if __name__ == "__main__":
    main()
