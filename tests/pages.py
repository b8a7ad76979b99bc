"""Made-up records for the tests of the page, and the page of them as a file."""

import json
from pathlib import Path
from typing import Any

from harness.audit import no_verdict
from harness.drawing import make_drawing
from harness.page import render_page, to_page_rows
from harness.records import Record
from tests.helpers import HOST, make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload

HOSTILE = (
    "</script><script>window.harmed=1</script><img src=x onerror='window.harmed=1'>\"'&amp;|`$x{{y}}\n\u202egnp\u2028"
)
STATUSES = ("skipped", "unsupported", "unavailable", "out-of-memory", "timeout", "crashed", "failed", "diverged")
OFF = {
    "level": "S3", "what": "gradients", "worst": 0.25, "where": "dense_1/bias", "tolerance": 1e-4,
    "precision": "float32", "note": None, "fault": False, "holds": False,
}  # fmt: skip
TIMES = {"torch": 3.0, "jax": 2.0, "mxnet": 4.0, "tensorflow": 8.0}
ELSEWHERE = {**HOST, "machine": "ffffffffffff", "cpu": "Otherium"}
SERIES = {
    "at_s": [0.0, 1.0, 2.0],
    "cpu_s": [0.0, 1.0, 3.0],
    "rss_mib": [10.0, 20.0, 30.0],
    "gpus": [{"gpu_pct": [0.0, 50.0, 90.0]}],
}


def nets_of_three_sizes() -> list[dict[str, Any]]:
    """Two tools whose times cross between nets of 4 and 64 units."""
    return [
        make_content(make_cell(tool, workload=make_workload("mnist-mlp", {"units": units})), [s, s])
        for tool, seconds in (("torch", (1.0, 2.0, 16.0)), ("jax", (3.0, 3.0, 4.0)))
        for units, s in zip((4, 16, 64), seconds, strict=True)
    ]


def records_of_every_kind() -> list[dict[str, Any]]:
    """Tools with five runs each, a floor, one that is not proven, every status, steps, sizes, and another machine."""
    contents = [
        make_content(make_cell(tool, repeat=run), [s + run / 100, s / 4], error_rate=s / 100, checks=[0.5, 0.1])
        for tool, s in TIMES.items()
        for run in range(5)
    ]
    for content in contents:
        content["utilisation"]["series"] = SERIES
    contents[0]["utilisation"]["others_pct"] = 25.0
    contents += [
        make_content(make_cell("null"), [0.001, 0.001], error_rate=0.9),
        make_content(
            make_cell("keras-torch"), [0.5, 0.5], verdict={**no_verdict(""), "level": "S2", "findings": [OFF]}
        ),
        make_content(make_cell("torch", device="gpu"), [1.0, 0.5], gpu_pct=87.4),
        *(
            make_step_content(make_step_cell(tool), [0.5, 0.02, s, 0.03])
            for tool, s in (("torch", 0.02), ("jax", 0.04))
        ),
        *nets_of_three_sizes(),
        make_content(make_cell("torch"), [100.0, 1.0], host=ELSEWHERE, finished_at="2025-01-01T00:00:00+00:00"),
    ]
    for place, status in enumerate(STATUSES):
        cell = make_cell("mxnet", workload=make_workload("digits-mlp", {"epochs": 2 + place}))
        contents.append(make_content(cell, [1.0], status=status, reason=f"why {status}"))
    return contents


def write_page(path: Path, contents: list[dict[str, Any]]) -> Path:
    rows = to_page_rows((Record(content=content) for content in contents), "results")
    path.write_text(render_page(rows, make_drawing()), encoding="utf-8")
    return path


def many_cells() -> list[dict[str, Any]]:
    """250 cells, each in a column of its own."""
    return [make_content(make_cell("torch", seed=seed), [1.0 + seed, 1.0]) for seed in range(250)]


def hostile_records() -> list[dict[str, Any]]:
    """Two records that hold a hostile text wherever a record holds text."""
    finding = OFF | {"what": HOSTILE, "where": HOSTILE, "precision": HOSTILE, "note": HOSTILE, "level": HOSTILE}
    verdict = {**no_verdict(HOSTILE), "level": "S3", "findings": [finding]}
    host = {**HOST, "cpu": HOSTILE, "machine": HOSTILE, "system": HOSTILE, "gpus": [{"name": HOSTILE}]}
    content = make_content(make_cell("torch"), [2.0, 1.0], verdict=verdict, host=host)
    content["cell"] |= {"tool": HOSTILE, "model": f"{HOSTILE} units={HOSTILE}", "precision": HOSTILE}
    content["versions"] = {"python": HOSTILE, "packages": {HOSTILE: HOSTILE}, "libraries": {HOSTILE: HOSTILE}}
    content["fingerprints"]["data_unverified"] = [HOSTILE]
    content["utilisation"] |= {"series": SERIES, "throttle": [HOSTILE]}
    failed = json.loads(json.dumps(content)) | {"status": HOSTILE, "reason": HOSTILE}
    failed["cell"]["tool"] = "jax"
    return [content, failed]
