"""Made-up records against the tables they must give, to the letter."""

import random
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from harness.audit import no_verdict
from harness.cross_tables import device_table
from harness.frames import describe_ranking, group_rows, to_frame
from harness.ledger_tables import render_ledger
from harness.markdown import Notes
from harness.records import Record
from harness.tables import render_markdown
from harness.tool_tables import tool_table
from tests.helpers import HOST, make_cell, make_content
from workloads import make_workload

OFF = {
    "level": "S3", "what": "gradients", "worst": 0.25, "where": "dense_1/bias", "tolerance": 1e-4,
    "precision": "float32", "note": None, "holds": False,
}  # fmt: skip
NATURAL = {**OFF, "worst": 0.0, "holds": True, "note": "its moving variance is biased"}
GOLDEN = Path(__file__).parent / "golden"


def records_of_every_kind() -> list[dict[str, Any]]:
    """Three tools on CPU and GPU with repeats, a failure, a floor, a net that is not the published bytes."""
    gpu = {"machine": HOST["machine"], "host": {**HOST, "gpus": [{"name": "Testla H1"}], "no_gpu": None}}
    on_gpu = {"host": gpu["host"], "gpu_pct": 87.4}
    contents = [
        make_content(make_cell("tensorflow"), [6.0, 4.0]),
        make_content(make_cell("torch"), [4.0, 2.0], error_rate=0.0123),
        make_content(make_cell("torch", repeat=1), [3.0, 2.0], error_rate=0.0125),
        make_content(make_cell("torch", repeat=2), [9.0, 2.0], error_rate=0.02),
        make_content(make_cell("null"), [0.001, 0.001], error_rate=0.9),
        make_content(
            make_cell("mxnet"),
            [8.0, 4.0],
            verdict={**no_verdict(""), "level": "S3", "findings": [NATURAL]},
        ),
        make_content(
            make_cell("keras-torch"),
            [0.5, 0.5],
            verdict={**no_verdict(""), "level": "S2", "findings": [OFF]},
        ),
        make_content(make_cell("keras-jax"), [0.5, 0.5], verdict=no_verdict("the proof's process ended")),
        make_content(make_cell("jax"), [1.0], status="crashed", reason="ended by SIGSEGV | core\ndumped <b>"),
        make_content(make_cell("tensorflow", device="gpu"), [3.0, 1.0], **on_gpu),
        make_content(make_cell("torch", device="gpu"), [1.5, 0.5], **on_gpu),
        make_content(make_cell("jax", device="gpu"), [1.0], status="timeout", reason="too slow", **on_gpu),
        make_content(make_cell("mxnet", device="gpu"), [1.0], status="unsupported", reason="retired", **on_gpu),
    ]
    other = make_cell("torch", workload=make_workload("cifar10-cnn", {"epochs": 1}))
    content = make_content(other, [100.0])
    content["fingerprints"]["data_unverified"] = ["test_batch.bin"]
    absent = make_content(make_cell("torch", device="gpu", workload=other.workload), [1.0])
    absent |= {"status": "unavailable", "reason": "no NVIDIA GPU here (test)"}
    never = make_content(make_cell("mxnet", device="gpu", workload=other.workload), [1.0])
    never |= {"status": "unsupported", "reason": "retired"}
    more = make_content(make_cell("jax", device="gpu", workload=other.workload), [1.0])
    more |= {"status": "unavailable", "reason": "no NVIDIA GPU here (test)"}
    contents += ranked_records()
    return [{**item, "host": gpu["host"]} for item in contents] + [content, absent, never, more]


def ranked_records() -> list[dict[str, Any]]:
    """Three tools with five runs each on a machine that has a price, a drift, a load and an energy counter.

    Two of them overlap; the third compiles long and is faster then.
    """
    workload = make_workload("digits-mlp", {"epochs": 3, "target_error_rate": 0.05})
    contents = []
    for run in range(5):
        late, checks = run / 10, [0.2, 0.05, 0.04]
        cells = {
            tool: make_cell(tool, workload=workload, repeat=run, price_per_hour=3.6)
            for tool in ("torch", "mxnet", "jax")
        }
        contents += [
            make_content(cells["torch"], [4.0, 2.0 + late, 2.0], checks=checks),
            make_content(cells["mxnet"], [4.0, 2.2 - late, 2.0], checks=[0.3, 0.2, 0.1 if run else 0.05]),
            make_content(cells["jax"], [12.0 + late, 1.0, 1.0], checks=[0.2, 0.2, 0.1]),
        ]
    for content in contents:
        content["utilisation"]["package_energy_j"] = 60.0
    contents[0]["canary"]["gflops"] = 80.0
    contents[1]["utilisation"]["others_pct"] = 25.0
    contents[5]["utilisation"] |= {"gpu_strangers": 1, "throttle": ["power cap"]}
    return contents


def render(contents: list[dict[str, Any]]) -> str:
    return render_markdown([Record(content=content) for content in contents])


def test_the_tables_are_the_golden_ones() -> None:
    assert render(records_of_every_kind()) == (GOLDEN / "tables.md").read_text()


def test_the_order_of_the_records_changes_nothing() -> None:
    contents = records_of_every_kind()
    expected = render(contents)
    random.Random(1).shuffle(contents)
    assert render(contents) == expected


def test_a_loss_curve_is_seen_in_the_published_band_or_among_the_other_tools() -> None:
    cells = {name: make_cell(name, workload=make_workload("mnist-cnn", {})) for name in ("torch", "jax")}
    contents = [make_content(cell, [1.0] * 10) for cell in cells.values()]
    for content, first in zip(contents, (0.3, 0.5), strict=True):
        for epoch, loss in zip(content["epochs"], [first, *[0.05] * 8, 0.03], strict=True):
            epoch["loss"] = loss
    table = render(contents)
    rows = [row for row in table.splitlines() if row.startswith(("| torch", "| jax"))]
    assert [row.split("|")[-2].strip() for row in rows[:2]] == ["S4", "S3 [1]"]
    assert "1. its loss of epoch 1 is 0.5000, published were 0.26 to 0.35" in table
    far = [make_content(make_cell(name), [1.0, 1.0]) for name in ("torch", "jax", "mxnet")]
    far[2]["epochs"][0]["loss"] = 3.0
    assert "its losses are 100% from the other tools' median" in render(far)


def test_rows_are_grouped_in_the_order_of_their_values() -> None:
    rows = [{"a": a, "b": b} for a, b in ((2, "x"), (1, "y"), (2, "w"))]
    assert group_rows(rows, ["a"]) == [((1,), [rows[1]]), ((2,), [rows[0], rows[2]])]


def test_no_records_are_said() -> None:
    assert "No records yet" in render([])


def rows_of(*contents: dict[str, Any]) -> list[dict[Any, Any]]:
    return to_frame(Record(content=content) for content in contents).to_dict("records")


def test_ratios_of_made_up_times() -> None:
    rows = rows_of(*(make_content(make_cell(tool), [s]) for tool, s in [("tensorflow", 10.0), ("torch", 4.0)]))
    table = tool_table(rows, Notes())
    assert table[["Tool", "vs best", "vs TensorFlow"]].to_numpy().tolist() == [
        ["torch", "1.00", "2.50"],
        ["tensorflow", "2.50", "1.00"],
    ]


def test_speedup_of_made_up_times() -> None:
    rows = rows_of(
        make_content(make_cell(), [1.0]),
        *(make_content(make_cell("torch", device=device), [s]) for device, s in [("cpu", 9.0), ("gpu", 3.0)]),
    )
    table = device_table(rows, [("cpu", 2), ("gpu", 2)], Notes())
    assert table.iloc[0].tolist() == ["torch", "9.00", "3.00", "3.00"]
    assert table.iloc[1].tolist() == ["null", "1.00", "–", "–"]


def five_runs(tool: str, epoch_s: float, spread_s: float) -> list[dict[str, Any]]:
    """Five runs with a first epoch of 9 s for torch and 4 s for others, and steady epochs that scatter."""
    first_s = 9.0 if tool == "torch" else 4.0
    return [make_content(make_cell(tool, repeat=run), [first_s, *[epoch_s + run * spread_s] * 3]) for run in range(5)]


@pytest.mark.parametrize(("spread_s", "overtakes"), [(0.001, True), (0.2, False)])
def test_a_tool_overtakes_another_only_where_their_epochs_differ(spread_s: float, overtakes: bool) -> None:
    (ledger,) = render_ledger("CPU", rows_of(*five_runs("torch", 1.0, spread_s), *five_runs("jax", 1.1, spread_s)))
    assert ("jax (" in "\n".join(ledger.lines)) == overtakes


def test_a_run_that_did_not_exit_has_no_place_in_the_ledger() -> None:
    contents = five_runs("torch", 1.0, 0.0)
    contents[0]["time"] |= {"total_s": None, "end_s": None, "other_s": None}
    (ledger,) = render_ledger("CPU", rows_of(*contents))
    assert "17.00" in ledger.lines[0]
    assert render_ledger("CPU", rows_of(contents[0])) == []


def test_energy_of_which_not_the_same_was_read_is_not_shown() -> None:
    contents = five_runs("torch", 1.0, 0.0)
    for content in contents:
        content["utilisation"]["package_energy_j"] = 30.0
    assert tool_table(rows_of(*contents), Notes())["J per epoch"].tolist() == ["15 [1]"]
    contents[0]["utilisation"]["package_energy_j"] = None
    assert "J per epoch" not in tool_table(rows_of(*contents), Notes())


def test_a_tool_with_too_few_runs_to_be_ranked_is_named() -> None:
    two, few = [*five_runs("torch", 1.0, 0.0), *five_runs("jax", 2.0, 0.0)], five_runs("mxnet", 3.0, 0.0)[:2]
    assert describe_ranking(rows_of(*two, *few))[0] == "Too few runs to be ranked (that takes 5): mxnet."
    assert describe_ranking(rows_of(*two)) == []
    assert describe_ranking(rows_of(*two[:5], *few))[0].endswith("(that takes 5): the order is no rank.")


def test_a_drift_stays_marked_when_other_cells_of_its_session_were_run_again() -> None:
    contents = five_runs("torch", 1.0, 0.0)[:3]
    contents[2]["canary"] = contents[2]["canary"] | {"gflops": 80.0}
    later = {"session": "later", "finished_at": "2026-02-01T00:00:00+00:00"}
    again = [content | later for content in five_runs("torch", 1.0, 0.0)[:2]]
    (row,) = rows_of(*contents, *again)
    assert "usual speed before 1 of 3 runs" in row["disturbances"][0]


def test_the_floor_is_never_the_best() -> None:
    rows = rows_of(make_content(make_cell("null"), [0.1]), make_content(make_cell("torch"), [4.0]))
    table = tool_table(rows, Notes()).set_index("Tool")
    assert table["vs best"].to_dict() == {"torch": "1.00", "null": "–"}
    assert list(table.index) == ["torch", "null"]


def test_without_tensorflow_there_is_no_ratio_to_it() -> None:
    table = tool_table(rows_of(make_content(make_cell("torch"), [4.0])), Notes())
    assert table["vs TensorFlow"].tolist() == ["–"]


def test_repeats_give_the_median_and_old_versions_are_left_out() -> None:
    old = make_content(make_cell("torch"), [100.0], key="old", finished_at="2025-01-01T00:00:00+00:00")
    old["fingerprints"]["adapter"] = "an older adapter"
    older_repeat = make_content(make_cell("torch", repeat=5), [90.0], finished_at="2025-01-01T00:00:00+00:00")
    older_repeat["fingerprints"]["adapter"] = "an older adapter"
    new = [make_content(make_cell("torch", repeat=i), [s]) for i, s in enumerate([3.0, 1.0, 2.0])]
    (row,) = rows_of(old, older_repeat, *new)
    assert (row["train_s"], row["repeats"]) == (2.0, 3)


def test_one_failed_repeat_shows() -> None:
    failed = make_content(make_cell("torch", repeat=1), [1.0], status="crashed", reason="ended by SIGBUS")
    failed["versions"] = {"python": None, "packages": None}
    (row,) = rows_of(*(make_content(make_cell("torch", repeat=i), [4.0]) for i in (0, 2)), failed)
    assert (row["status"], row["reason"]) == ("crashed", "ended by SIGBUS")


def test_a_frame_keeps_no_heavy_part_of_a_record() -> None:
    class Heavy(list[Any]):
        """Unlike a list, it can be watched going."""

    content = make_content(make_cell("torch"), [2.0, 1.0])
    watched = []
    for part, name in (("utilisation", "series"), ("versions", "packages"), ("sameness", "findings")):
        content[part][name] = Heavy()
        watched.append(ref(content[part][name]))
    frame = to_frame([Record(content=content)])
    del content
    assert [heavy() for heavy in watched] == [None, None, None]
    assert frame["train_s"].tolist() == [3.0]


def test_machines_and_suites_never_share_a_table() -> None:
    other = make_content(make_cell("torch"), [1.0], suite="1")
    elsewhere = make_content(make_cell("torch"), [2.0], host={**HOST, "machine": "ffffffffffff"})
    text = render([make_content(make_cell("torch"), [4.0]), other, elsewhere])
    assert text.count("## Machine") == 3
    assert text.count("| Tool   |   Time (s) |") == 3
    assert text.count("CPU % is what the worker's own process used.") == 1


def test_hostile_text_stays_in_its_cell() -> None:
    reason = "a | b\n<script>alert(1)</script> &amp;"
    line = next(
        line
        for line in render([make_content(make_cell("torch"), [1.0], status="failed", reason=reason)]).splitlines()
        if line.startswith("1. ")
    )
    assert line == "1. a \\| b &lt;script>alert(1)&lt;/script> &amp;amp;"
