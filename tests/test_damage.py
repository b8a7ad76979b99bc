"""Whatever somebody writes into a record, reading refuses it or everything can be made of it."""

import copy
import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.compare import compare, render_comparison
from harness.drawing import Drawing
from harness.export import CellExport
from harness.frames import to_frame
from harness.matching import records_of
from harness.page import render_page, to_page_rows
from harness.pictures import make_pictures
from harness.records import Record, read_record
from harness.tables import render_markdown
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import TARGET, make_workload
from workloads.errors import UserError

DELETED = object()
VALUES = (DELETED, None, "x", "", -1, 0, 1.5, 1e-320, 2**63, 1e300, True, [], {}, [None], [{}], {"x": None})
DRAWS = 50
TARGETED = make_workload("digits-cnn", {"epochs": 2, TARGET: 0.05})
CHECKED = make_cell("torch", cores=2, workload=TARGETED, price_per_hour=2.0)
STEPS = make_step_cell("torch", cores=2)


def with_all_parts(content: dict[str, Any]) -> dict[str, Any]:
    """Return a made-up record with what only some records have."""
    gpus = [{"gpu_pct": [10.0, None], "gpu_power_w": [90.0, 91.0]}]
    series = {"at_s": [0.0, 1.0], "cpu_s": [0.0, 1.5], "rss_mib": [None, 9.0], "gpus": gpus}
    finding = {"level": "S2", "what": "loss", "worst": 1e-7, "tolerance": 1e-6, "where": "", "precision": "float32"}
    finding |= {"holds": True, "fault": False, "note": None}
    content["host"] = {**content["host"], "git": {"commit": "0" * 40, "clean": True}, "gpus": [{"name": "Testforce"}]}
    content["utilisation"] |= {"series": series, "framework_memory_mib": 5.0}
    content["versions"] |= {"libraries": {"cudnn": "9"}}
    content["sameness"] |= {"findings": [finding]}
    for epoch in content["epochs"]:
        epoch["validation"] = {"loss": 0.1, "error_rate": 0.1}
    return content


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every value in a record, however deep."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from places(part, (*path, name))


def make_everything(record: Record, sound: Record, folder: Path) -> None:
    """Make of a record, beside one that is sound, all that the runner makes of records."""
    records, export = [record, sound], CellExport()
    assert render_markdown(export.collect(records))
    assert export.write(folder)
    assert render_page(to_page_rows(records, "results"), Drawing(library="", charts={}))
    assert list(make_pictures(to_frame(records, also=("utilisation",)).to_dict("records")))
    assert sound in records_of([replace(cell, tool="jax") for cell in (CHECKED, STEPS)], records)
    if record.content["suite"] == sound.content["suite"]:
        assert render_comparison(compare([sound, record], [sound, record]), "A", "B")


def damage(content: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    damaged = copy.deepcopy(content)
    part: Any = damaged
    for name in path[:-1]:
        part = part[name]
    if value is DELETED:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return damaged


@pytest.mark.parametrize(
    "content",
    [
        with_all_parts(make_content(CHECKED, [3.0, 1.0], checks=[0.1, 0.02], gpu_pct=50.0)),
        with_all_parts(make_step_content(STEPS, [9.0, 1.0, 2.0, 3.0])),
    ],
    ids=["epochs", "steps"],
)
def test_a_damaged_record_is_refused_or_harmless(content: dict[str, Any], tmp_path: Path) -> None:
    stream, file = random.Random(0), tmp_path / "record.json"
    ways, refused = list(places(content)), 0
    sound = Record(content=content | {"key": "another", "cell": content["cell"] | {"tool": "jax"}})
    for _ in range(DRAWS):
        file.write_text(json.dumps(damage(content, stream.choice(ways), stream.choice(VALUES))))
        try:
            record = read_record(file)
        except UserError:
            refused += 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a time next to nothing is an endless speed
            make_everything(record, sound, tmp_path)
    assert 0 < refused < DRAWS
