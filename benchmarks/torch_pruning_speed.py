"""What Torch-Pruning takes for the networks of `shrinking.py`, which runs this as its child.

    echo ResNet50 | TORCH/bin/python benchmarks/torch_pruning_speed.py 96

Needs torch, torchvision, torch-pruning and timm, and none of TensorFlow, Keras and sft_keras. For
each name read from standard input it builds the network anew, with random weights and 10 classes,
for images of the size given, prunes half of each layer's filters by their L1 norms with all
defaults, runs the result once, and prints processor seconds and parameter counts as JSON:

    copy     copy.deepcopy of the network, for pruning changes it in place
    graph    DependencyGraph().build_dependency, which runs the network forward once
    groups   all pruning groups listed from that graph
    prune    MagnitudePruner(...), which makes graph and groups of its own, and its step()
    choice   the part of `prune` in which MagnitudeImportance ranks the filters
"""

import contextlib
import copy
import json
import sys
import time

import timm
import torch
import torch_pruning
import torchvision
from timm.models.nasnet import NASNetALarge
from torch import nn

ROOTS = [nn.Conv2d, nn.Linear]


class NASNetMobile(NASNetALarge):
    """The 4 @ 1056 variant: timm's cells, four a stage instead of six."""

    STAGES = (range(4), range(6, 10), range(12, 16))

    def __init__(self, num_classes: int):
        super().__init__(num_classes, stem_size=32, num_features=1056)
        for left_out in (4, 5, 10, 11, 16, 17):
            delattr(self, f"cell_{left_out}")

    def forward_features(self, x):
        """The cells, each on the outputs of the two before; a reduction also passes its input's."""
        first = self.conv0(x)
        before = self.cell_stem_0(first)
        x = self.cell_stem_1(first, before)
        for index, stage in enumerate(self.STAGES):
            if index:
                x = getattr(self, f"reduction_cell_{index - 1}")(x, before)
            for cell in stage:
                before, x = x, getattr(self, f"cell_{cell}")(x, before)
        return self.act(x)


NETWORKS = {
    "ResNet50": torchvision.models.resnet50,
    "DenseNet121": torchvision.models.densenet121,
    "MobileNetV2": torchvision.models.mobilenet_v2,
    "EfficientNetB0": torchvision.models.efficientnet_b0,
    "NASNetMobile": NASNetMobile,
}


class TimedImportance(torch_pruning.importance.MagnitudeImportance):
    """The L1 norm, with the seconds that it took."""

    def __init__(self):
        super().__init__(p=1)
        self.seconds = 0.0

    def __call__(self, *args, **kwargs):
        """The scores of one group."""
        begin = time.process_time()
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self.seconds += time.process_time() - begin


def measure(name: str, size: int) -> dict[str, float]:
    """Seconds of each stage, and the parameters before and after."""
    original = NETWORKS[name](num_classes=10).eval()
    image = torch.randn(1, 3, size, size)
    seconds: dict[str, float] = {}
    with noted(seconds, "copy"):
        model = copy.deepcopy(original)
    with noted(seconds, "graph"):
        graph = torch_pruning.DependencyGraph().build_dependency(original, image)
    with noted(seconds, "groups"):
        list(graph.get_all_groups(ignored_layers=[classifier(original)], root_module_types=ROOTS))
    importance = TimedImportance()
    with noted(seconds, "prune"):
        torch_pruning.pruner.MagnitudePruner(
            model,
            image,
            importance,
            pruning_ratio=0.5,
            ignored_layers=[classifier(model)],
        ).step()
    with torch.no_grad():
        model(image)
    counts = {"params": count(original), "pruned_params": count(model)}
    return {**seconds, "choice": importance.seconds, **counts}


@contextlib.contextmanager
def noted(seconds: dict[str, float], name: str):
    """Notes the seconds that the block takes."""
    begin = time.process_time()
    yield
    seconds[name] = time.process_time() - begin


def classifier(model: nn.Module) -> nn.Module:
    """The layer that gives the classes, whose filters stay."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]


def count(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def main():
    """Answers the versions first, then each line of standard input with one of JSON."""
    found = (torch, torchvision, torch_pruning, timm)
    versions = {module.__name__: module.__version__ for module in found}
    print(json.dumps({**versions, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(line.strip(), int(sys.argv[1]))), flush=True)


if __name__ == "__main__":
    main()
