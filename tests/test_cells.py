"""One small cell of each kind in every tool, in its real environment: it is ok, and its ledger of time closes."""

from pathlib import Path
from typing import Any

import pytest

import harness.session
from frameworks import FLOOR, TOOLS
from harness.audit import no_verdict
from tests.helpers import make_cell, make_step_cell, run
from workloads import make_workload

pytestmark = [pytest.mark.conformance, pytest.mark.usefixtures("quiet_machine")]
LEDGER_TOLERANCE = 0.02
"""The part of a process's wall time that may be accounted for by nobody."""
PREEMPTION_S = 0.05
"""What a busy system may take between two parts; the null tool's whole process takes a few tenths of a second."""


@pytest.mark.parametrize("make", [make_cell, make_step_cell], ids=["epochs", "steps"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_cell_is_ok_and_its_ledger_closes(
    tool: str, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        harness.session, "prove_cells", lambda cells, *_: {cell: no_verdict("not proven here") for cell in cells}
    )
    cell = make(tool, workload=make_workload("digits-mlp", {"epochs": 2}), time_limit_s=600)
    (content,), _ = run([cell], tmp_path)
    assert (content["status"], content["reason"]) == ("ok", None)
    time, seen = content["time"], content["utilisation"]
    assert abs(time["other_s"]) < max(LEDGER_TOLERANCE * time["total_s"], PREEMPTION_S)
    assert content["versions"]["packages"]["numpy"]
    if tool != FLOOR and cell.steps is None:
        assert content["epochs"][1]["loss"] < content["epochs"][0]["loss"]
        assert content["error_rate"] < 0.5
    if tool != FLOOR:
        assert seen["missing"]["rss_mib"] if seen["rss_mib"] is None else seen["rss_mib"] > 50
