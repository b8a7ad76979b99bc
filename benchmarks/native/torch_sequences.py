"""PyTorch by hand: the LSTM of the tutorials, and a small GPT with torch's fused attention."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

PLACES, COLUMNS, HEADS, BLOCKS, TOKENS = 64, 256, 4, 4, 64


class Reviews(nn.Module):
    """Words (N, T) to the logits of the last state. torch's second bias is left at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20_000, 128)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, 2))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        _, (state, _) = self.lstm(self.embedding(words))
        return self.head(state[-1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.output = nn.Linear(COLUMNS, 3 * COLUMNS), nn.Linear(COLUMNS, COLUMNS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        samples, places, columns = x.shape
        heads = (samples, places, HEADS, columns // HEADS)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.inputs(x).split(columns, dim=2))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(COLUMNS), Attention())
        widen, narrow = nn.Linear(COLUMNS, 4 * COLUMNS), nn.Linear(4 * COLUMNS, COLUMNS)
        self.feed_forward = nn.Sequential(nn.LayerNorm(COLUMNS), widen, nn.GELU(), narrow)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class GPT(nn.Module):
    """Tokens (N, T) to the logits of the token after each."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, COLUMNS), nn.Parameter(torch.zeros(PLACES, COLUMNS))
        blocks = (Block() for _ in range(BLOCKS))
        self.body = nn.Sequential(*blocks, nn.LayerNorm(COLUMNS), nn.Linear(COLUMNS, TOKENS, bias=False))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.body(self.tokens(tokens) + self.places)


def make_steps(model: str, tokens: np.ndarray, *, compiled: bool = False) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the training step of a net, a function of the labels of `tokens` (N, T)."""
    net: nn.Module = {"imdb-lstm": Reviews, "gpt-nano": GPT}[model]()
    forward = torch.compile(net, dynamic=False) if compiled else net
    settings = {"betas": (0.9, 0.99), "eps": 1e-8} if model == "gpt-nano" else {"eps": 1e-7}
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True, **settings)
    x = torch.tensor(tokens)

    def train(labels: np.ndarray) -> float:
        logits, y = forward(x), torch.from_numpy(labels).long()
        loss = nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    net.train()
    return {"train": train}
