"""The nets that adapters are compared on with hand-written loops and steps, and what of each is timed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from workloads import make_workload
from workloads.spec import Workload


@dataclass(frozen=True, kw_only=True)
class Net:
    """A workload, and what is timed of it: `"epochs"`, or kinds of steps on its first batch."""

    workload: Workload
    measures: tuple[str, ...]


def _epochs(model: str, parameters: Mapping[str, int], train_samples: int) -> Net:
    """Return a net with fewer samples, so that its epochs take seconds."""
    return Net(workload=make_workload(model, {**parameters, "train_samples": train_samples}), measures=("epochs",))


def _steps(model: str, batch_size: int, *measures: str) -> Net:
    """Return a net with no more samples than its steps take."""
    workload = make_workload(model, {"train_samples": batch_size})
    return Net(workload=replace(workload, batch_size=batch_size), measures=measures)


NETS: Mapping[str, Net] = {
    "mnist-cnn": _epochs("mnist-cnn", {}, 12_800),
    "mnist-mlp-1024": _epochs("mnist-mlp", {"units": 1024}, 12_800),
    "cifar10-cnn": _epochs("cifar10-cnn", {}, 6_400),
    "resnet50": _steps("resnet50", 16, "train"),
    "alexnet-owt": _steps("alexnet-owt", 128, "forward", "gradients"),
    "imdb-lstm": _steps("imdb-lstm", 32, "train"),
    "gpt-nano": _steps("gpt-nano", 32, "train"),
}
