"""PyTorch by hand: ResNet-50 as torchvision writes it and the convolutions of AlexNet, in channels-last memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters, blocks, and the stride of the first."""
LEARNING_RATE = 4.4e-6
L2_RATE = 4e-5


def conv_norm(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1))


class Bottleneck(nn.Module):
    """Version 1: the first convolution strides."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_norm(channels, filters, 1, stride), nn.ReLU(inplace=True),
            conv_norm(filters, filters, 3), nn.ReLU(inplace=True),
            conv_norm(filters, 4 * filters, 1),
        )  # fmt: skip
        widens = channels != 4 * filters
        self.shortcut = conv_norm(channels, 4 * filters, 1, stride) if widens else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


def resnet50() -> nn.Sequential:
    """Build the net for images (N, C, H, W); the pool, which pads below and to the right alone, rounds up instead."""
    parts = [conv_norm(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)]
    channels = 64
    for filters, blocks, stride in STAGES:
        for block in range(blocks):
            parts.append(Bottleneck(channels, filters, 1 if block else stride))
            channels = 4 * filters
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1001))


def alexnet() -> nn.Sequential:
    """Build the net for images (N, C, H, W); torch divides alpha by the size of the window."""
    response_norm = partial(nn.LocalResponseNorm, 5, alpha=5e-4, beta=0.75, k=2.0)
    return nn.Sequential(
        nn.ZeroPad2d((3, 4, 3, 4)),
        nn.Conv2d(3, 64, 11, 4), nn.ReLU(inplace=True), response_norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), response_norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
    )  # fmt: skip


def make_steps(model: str, images: np.ndarray, *, compiled: bool = False) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the steps of a net by kind, functions of the labels (N,) of `images` (N, H, W, C)."""
    net = {"resnet50": resnet50, "alexnet-owt": alexnet}[model]().to(memory_format=torch.channels_last)
    forward = torch.compile(net, dynamic=False) if compiled else net
    x = torch.tensor(images).permute(0, 3, 1, 2)
    if model == "resnet50":
        return {"train": train_step(net, forward, x)}
    return {"forward": forward_step(net, forward, x), "gradients": gradient_step(net, forward, x)}


def parameters_of(net: nn.Module, kinds: Any) -> list[nn.Parameter]:
    return [parameter for module in net.modules() if isinstance(module, kinds) for parameter in module.parameters()]


def train_step(net: nn.Module, forward: Callable[..., Any], x: torch.Tensor) -> Callable[[np.ndarray], float]:
    """Return SGD whose weight decay is the gradient of the L2 term, which leaves batch normalisation out."""
    decayed = parameters_of(net, nn.Conv2d | nn.Linear)
    groups = [{"params": decayed, "weight_decay": L2_RATE}, {"params": parameters_of(net, nn.BatchNorm2d)}]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, fused=True)
    criterion = nn.CrossEntropyLoss()

    def train(labels: np.ndarray) -> float:
        loss = criterion(forward(x), torch.from_numpy(labels).long())
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            l2 = 0.5 * L2_RATE * nn.utils.get_total_norm(decayed) ** 2
        optimizer.step()
        return (loss.detach() + l2).item()

    net.train()
    return train


def forward_step(net: nn.Module, forward: Callable[..., Any], x: torch.Tensor) -> Callable[[np.ndarray], Any]:
    def infer(labels: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return forward(x).cpu()

    return infer


def gradient_step(net: nn.Module, forward: Callable[..., Any], x: torch.Tensor) -> Callable[[np.ndarray], Any]:
    parameters = list(net.parameters())

    def differentiate(labels: np.ndarray) -> tuple[float, list[torch.Tensor]]:
        loss = 0.5 * forward(x).square().sum()
        gradients = torch.autograd.grad(loss, parameters)
        return loss.item(), [gradient.cpu() for gradient in gradients]

    return differentiate
