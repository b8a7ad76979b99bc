"""PyTorch by hand: the three nets as a performance-minded tutorial would train them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

BATCH_SIZES = {"mnist-cnn": 128, "mnist-mlp-1024": 128, "cifar10-cnn": 32}


def make_net(model: str) -> nn.Module:
    """Build one of the nets with PyTorch's own initialisation, for images (N, C, H, W)."""
    if model == "mnist-cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
            nn.Flatten(), nn.Linear(400, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
    if model == "mnist-mlp-1024":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(1024, 1024), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(1024, 1024), nn.ReLU(), nn.Dropout(0.2), nn.Linear(1024, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 10),
    )  # fmt: skip


def make_loop(
    model: str, images: np.ndarray, labels: np.ndarray, *, compiled: bool = False
) -> Callable[[np.ndarray], None]:
    """Return a function that trains one epoch over `images[order]` and returns when all is computed."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()
    net = make_net(model).to(memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss()
    if model == "mnist-cnn":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 1e-5 * step))
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=True)
        schedule = None
    forward = torch.compile(net, dynamic=False) if compiled else net

    def epoch(order: np.ndarray) -> None:
        net.train()
        total = torch.zeros(())
        for batch in torch.from_numpy(order).split(BATCH_SIZES[model]):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(forward(x[batch].permute(0, 3, 1, 2)), y[batch])
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
            total += loss.detach() * len(batch)
        assert torch.isfinite(total / len(order))

    return epoch
