"""The tools by id: which adapter with which options, and which environment on which device. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One row of the matrix.

    `adapter` is `module:class` within this package. `requirements` names, per device, the file under requirements/
    that its environment is made from; None means the runner's own interpreter. A device that the tool cannot use is
    in `unsupported` with the reason. `python` is the Python the environment needs; None means the runner's. `packages`
    are those whose versions tables name, as far as they are installed.
    """

    label: str
    adapter: str
    requirements: Mapping[str, str | None]
    options: Mapping[str, Any] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    packages: tuple[str, ...] = ()


FLOOR = "null"
"""The tool that trains nothing: nothing about it is proven, and it is compared with nothing."""

_TENSORFLOW = {"cpu": "tensorflow.txt", "gpu": "tensorflow-gpu.txt"}
_TORCH = {"cpu": "torch.txt", "gpu": "torch.txt"}
_JAX = {"cpu": "jax.txt", "gpu": "jax-gpu.txt"}

TOOLS: Mapping[str, Tool] = {
    "tensorflow": Tool(
        label="TensorFlow, tf.function",
        adapter="tensorflow_adapter:TensorFlowAdapter",
        options={"jit_compile": False},
        requirements=_TENSORFLOW,
        packages=("tensorflow", "tensorflow-cpu"),
    ),
    "tensorflow-xla": Tool(
        label="TensorFlow, tf.function with XLA",
        adapter="tensorflow_adapter:TensorFlowAdapter",
        options={"jit_compile": True},
        requirements=_TENSORFLOW,
        packages=("tensorflow", "tensorflow-cpu"),
    ),
    "keras-tensorflow": Tool(
        label="Keras 3 fit on TensorFlow",
        adapter="keras_adapter:KerasAdapter",
        options={"backend": "tensorflow"},
        requirements=_TENSORFLOW,
        packages=("keras", "tensorflow", "tensorflow-cpu"),
    ),
    "torch": Tool(
        label="PyTorch, eager",
        adapter="torch_adapter:TorchAdapter",
        options={"compiled": False},
        requirements=_TORCH,
        packages=("torch",),
    ),
    "torch-compile": Tool(
        label="PyTorch, torch.compile",
        adapter="torch_adapter:TorchAdapter",
        options={"compiled": True},
        requirements=_TORCH,
        packages=("torch",),
    ),
    "keras-torch": Tool(
        label="Keras 3 fit on PyTorch",
        adapter="keras_adapter:KerasAdapter",
        options={"backend": "torch"},
        requirements=_TORCH,
        packages=("keras", "torch"),
    ),
    "jax": Tool(
        label="JAX, jitted step with optax",
        adapter="jax_adapter:JaxAdapter",
        requirements=_JAX,
        packages=("jax", "jaxlib", "optax"),
    ),
    "keras-jax": Tool(
        label="Keras 3 fit on JAX",
        adapter="keras_adapter:KerasAdapter",
        options={"backend": "jax"},
        requirements=_JAX,
        packages=("keras", "jax", "jaxlib"),
    ),
    "mxnet": Tool(
        label="MXNet Gluon, hybridised",
        adapter="mxnet_adapter:MXNetAdapter",
        requirements={"cpu": "mxnet.txt"},
        unsupported={"gpu": "MXNet 1.9.1 was built for CUDA 11.2 at most and is retired upstream"},
        python="3.11",
        packages=("mxnet",),
    ),
    FLOOR: Tool(
        label="learns nothing",
        adapter="null_adapter:NullAdapter",
        requirements={"cpu": None, "gpu": None},
    ),
}
