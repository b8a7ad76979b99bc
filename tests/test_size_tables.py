"""Made-up sizes of one net against the tables and the crossovers they must give."""

from pathlib import Path
from typing import Any

from harness.audit import no_verdict
from harness.frames import Row, to_frame
from harness.markdown import Section, render_sections
from harness.records import Record
from harness.size_tables import render_sweep
from harness.sizes import Sweep, count_parameters, find_sweeps
from tests.helpers import HOST, make_cell, make_content
from workloads import make_workload

GOLDEN = Path(__file__).parent / "golden" / "size_tables.md"
UNPROVEN = {**no_verdict(""), "level": "S2", "reason": "logits are off"}
WITH_GPU = {**HOST, "gpus": [{"name": "Testla H1"}]}
SIZES = (4, 64, 512)


def run_of(tool: str, units: int, train_s: float, repeat: int = 0, **changes: Any) -> dict[str, Any]:
    named = {name: changes.pop(name) for name in ("device", "epochs", "dropout") if name in changes}
    chosen = {"epochs": named.pop("epochs", 1), **({"dropout": named.pop("dropout")} if "dropout" in named else {})}
    workload = make_workload("mnist-mlp", {"units": units, **chosen})
    return make_content(make_cell(tool, workload=workload, repeat=repeat, **named), [train_s], **changes)


def five_runs(tool: str, times_s: tuple[float, ...], spread_s: float = 0.01, **named: Any) -> list[dict[str, Any]]:
    """Five runs of each size, each a little slower than the one before."""
    return [
        run_of(tool, units, train_s + run * spread_s, run, host=WITH_GPU, **named)
        for units, train_s in zip(SIZES, times_s, strict=True)
        for run in range(5)
    ]


def sweeps_of(*contents: dict[str, Any]) -> list[Sweep]:
    rows: list[Row] = to_frame(Record(content=content) for content in contents).to_dict("records")
    return find_sweeps(rows, count_parameters(rows))


def crossovers(*contents: dict[str, Any]) -> str:
    parts = [part for sweep in sweeps_of(*contents) for part in render_sweep(sweep).parts]
    return "\n".join(line for part in parts if part.title == "Crossover sizes" for line in part.lines)


def every_kind() -> list[Section]:
    """Ranked tools that cross, that overlap and that never cross; one that failed, one not proven; CPU and GPU."""
    failed = run_of("tensorflow", 64, 1.0, host=WITH_GPU, status="out-of-memory", reason="no | room")
    contents = [
        *five_runs("torch", (1.0, 3.0, 30.0)), *five_runs("jax", (2.0, 3.01, 10.0)),
        *five_runs("mxnet", (5.0, 6.0, 40.0)), *five_runs("jax", (4.0, 4.0, 4.0), device="gpu"),
        *five_runs("torch", (3.0, 3.5, 8.0), device="gpu"),
        *(run_of("keras-jax", units, 0.5, host=WITH_GPU, verdict=UNPROVEN) for units in SIZES),
        run_of("tensorflow", 4, 9.0, host=WITH_GPU), failed, run_of("null", 4, 0.1, host=WITH_GPU),
    ]  # fmt: skip
    return [render_sweep(sweep) for sweep in sweeps_of(*contents)]


def test_the_tables_are_the_golden_ones() -> None:
    assert "\n".join(render_sections(every_kind())) == GOLDEN.read_text()


def test_the_parameters_are_those_of_the_net() -> None:
    """2·units² + 797·units + 10, as the README says; the default of 512 units is not named in a label."""
    (sweep,) = sweeps_of(*(run_of("torch", units, 1.0) for units in (1024, 4, 512)))
    assert dict(sweep.values) == {2 * units**2 + 797 * units + 10: units for units in (4, 512, 1024)}
    assert list(sweep.values) == sorted(sweep.values)


def test_cells_that_differ_in_more_than_the_size_are_no_sweep() -> None:
    assert sweeps_of(run_of("torch", 4, 1.0, epochs=1), run_of("torch", 8, 1.0, epochs=2)) == []
    assert sweeps_of(run_of("torch", 4, 1.0), run_of("torch", 8, 1.0, dropout=0.5)) == []
    assert sweeps_of(run_of("torch", 4, 1.0), run_of("torch", 4, 1.0, dropout=0.5)) == []


def test_a_workload_of_which_the_spec_has_changed_has_no_size() -> None:
    contents = [run_of("torch", units, 1.0) for units in SIZES]
    contents[0]["fingerprints"]["spec"] = "what it was"
    contents[1]["cell"]["workload"] = {"name": "what it was", "parameters": {}}
    assert sweeps_of(*contents) == []


def test_a_crossover_is_found_where_both_sides_differ() -> None:
    """At 59,210 and 932,362 parameters the ratio is 1/2 and 2, so they are equal at the geometric mean, 235,000."""
    text = crossovers(*five_runs("torch", (1.0, 2.0, 8.0), 0.0), *five_runs("jax", (1.5, 4.0, 4.0), 0.0))
    assert "| jax and torch |" in text
    assert "235,000 |" in text
    assert "64 – 512 |" in text


def test_a_crossover_within_the_scatter_of_the_runs_is_called_noise() -> None:
    text = crossovers(*five_runs("torch", (1.0, 2.0, 8.0), 1.0), *five_runs("jax", (1.1, 2.1, 7.9), 1.0))
    assert "1. within the noise" in text


def test_few_runs_tell_no_noise() -> None:
    runs = [run_of(tool, units, s) for tool, units, s in (("jax", 4, 2.0), ("jax", 64, 2.0), ("torch", 4, 1.0))]
    assert "1. may be noise: too few runs" in crossovers(*runs, run_of("torch", 64, 3.0))


def test_what_is_not_proven_crosses_nothing() -> None:
    unproven = [run_of("jax", units, 1.0, verdict=UNPROVEN) for units in SIZES]
    assert crossovers(*unproven, *(run_of("torch", units, float(units)) for units in SIZES)) == ""


def test_tools_that_keep_their_order_have_no_crossover() -> None:
    text = crossovers(*(run_of(tool, units, s) for units in SIZES for tool, s in (("jax", 1.0), ("torch", 2.0))))
    assert text.startswith("jax takes less at every measured size than torch: no crossover.")
