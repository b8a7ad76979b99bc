"""The workloads by name: each is a function whose keyword arguments are what a matrix may choose."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from workloads.alexnet import alexnet
from workloads.alexnet_owt import alexnet_owt
from workloads.cifar10_cnn import cifar10_cnn
from workloads.cifar10_resnet import cifar10_resnet
from workloads.digits import digits_cnn, digits_mlp
from workloads.errors import UserError, unknown
from workloads.gpt_nano import gpt_nano
from workloads.imdb_lstm import imdb_lstm
from workloads.inception3 import inception3
from workloads.mnist_cnn import mnist_cnn
from workloads.mnist_mlp import mnist_mlp
from workloads.nasnet import nasnet
from workloads.resnet50 import resnet50, resnet50_v1_5
from workloads.spec import Workload
from workloads.vgg16 import vgg16

WORKLOADS: Mapping[str, Callable[..., Workload]] = {
    "alexnet": alexnet,
    "alexnet-owt": alexnet_owt,
    "cifar10-cnn": cifar10_cnn,
    "cifar10-resnet": cifar10_resnet,
    "digits-cnn": digits_cnn,
    "digits-mlp": digits_mlp,
    "gpt-nano": gpt_nano,
    "imdb-lstm": imdb_lstm,
    "inception3": inception3,
    "mnist-cnn": mnist_cnn,
    "mnist-mlp": mnist_mlp,
    "nasnet": nasnet,
    "resnet50": resnet50,
    "resnet50-v1.5": resnet50_v1_5,
    "vgg16": vgg16,
}


TARGET = "target_error_rate"
"""The parameter that every workload with labels of real data accepts."""


def make_workload(name: str, parameters: Mapping[str, Any], *, where: str = "the model") -> Workload:
    """Build a workload from its name and chosen parameters.

    Raises UserError for an unknown name or parameter and for a value of the wrong type or out of range.

    >>> make_workload("mnist-mlp", {"units": 64}).label
    'mnist-mlp units=64'
    """
    if not isinstance(name, str) or name not in WORKLOADS:
        raise unknown("model", name, WORKLOADS, where=where)
    accepted = inspect.signature(WORKLOADS[name]).parameters
    target = parameters.get(TARGET)
    if target is not None and type(target) is not float:
        raise UserError(f"{TARGET} at {where} is {target!r}; accepted: a rate, for example 0.05. Correct the value.")
    for key, value in parameters.items():
        if key == TARGET:
            continue
        if key not in accepted:
            raise unknown(f"parameter of {name}", key, [*accepted, TARGET], where=where)
        kind = type(accepted[key].default)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            raise UserError(
                f"parameter {key} of {name} at {where} is {value!r}; accepted: a value of type {kind.__name__}, "
                f"for example {accepted[key].default!r}. Correct the value and start again."
            )
    given = {key: type(accepted[key].default)(parameters[key]) for key in accepted if key in parameters}
    chosen = {key: value for key, value in given.items() if value != accepted[key].default}
    try:
        named = chosen if target is None else chosen | {TARGET: target}
        return replace(WORKLOADS[name](**chosen), parameters=tuple(named.items()), target_error_rate=target)
    except ValueError as error:
        raise UserError(f"{name} at {where} cannot be built: {error}. Correct the value and start again.") from error
