"""How large the page may be: it is opened from a mail or a disk, and must not be a burden."""

import random
from collections.abc import Iterator
from itertools import accumulate

import pytest

from harness.drawing import make_drawing
from harness.page import render_page, to_page_rows
from harness.page_runs import SEEN, points_each
from harness.plan import Steps
from harness.records import Record
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload

RECORDS, MADE = 5000, 200
MOST_BYTES = 6 * 2**20


def test_the_page_of_5000_long_records_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.page.points_each", lambda runs: points_each(RECORDS))
    drawing = make_drawing()
    none, some = (
        len(render_page(to_page_rows(long_records(count), "results"), drawing).encode()) for count in (0, MADE)
    )
    assert none + RECORDS * (some - none) / MADE < MOST_BYTES


def long_records(count: int) -> Iterator[Record]:
    """Records of other cells, whose 200 epochs or steps and 600 samples are numbers of many digits."""
    stream = random.Random(0)
    for place in range(count):
        workload = make_workload("mnist-mlp", {"units": 8 + place // 4, "epochs": 200})
        tool, times = ("torch", "jax")[place % 2], numbers(stream, 200)
        if place % 4 < 2:
            content = make_content(make_cell(tool, workload=workload), times, checks=numbers(stream, 200))
        else:
            cell = make_step_cell(tool, workload=workload, steps=Steps(warmup=10, timed=190))
            content = make_step_content(cell, times)
        for epoch in content["epochs"]:
            epoch["loss"] = stream.random()
        seen = dict(zip(SEEN, numbers(stream, len(SEEN)), strict=True))
        content["utilisation"] |= seen | {"series": {
            "at_s": [*accumulate(numbers(stream, 600))], "cpu_s": [*accumulate(numbers(stream, 600))],
            "rss_mib": numbers(stream, 600), "gpus": [{"gpu_pct": numbers(stream, 600)}],
        }}  # fmt: skip
        yield Record(content=content)


def numbers(stream: random.Random, count: int) -> list[float]:
    return [stream.uniform(0.1, 100) for _ in range(count)]
