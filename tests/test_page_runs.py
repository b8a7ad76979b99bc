"""How the page's data is made small, against known answers."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import orjson
import pytest

from harness.chart_rows import part_rows, series_rows
from harness.drawing import Drawing, make_drawing
from harness.page import content_policy, escape_json, page_data, render_page, to_page_rows
from harness.page_runs import MOST_POINTS, RunPacker, finish_run, pack_columns, points_each, rounded, thin_places
from harness.places import PROJECT
from harness.records import Record, read_records, record_name, write_record
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from tests.pages import nets_of_three_sizes
from tests.test_chart_rows import rows_of
from workloads.shapes import forward_flops, train_flops


@pytest.mark.parametrize(
    ("value", "short"),
    [(1.234567, 1.2346), (987654.3, 987650), (2.0, 2), (1e-9, 1e-9), (float("nan"), None), (None, None)],
)
def test_numbers_have_five_significant_digits(value: float | None, short: float | None) -> None:
    assert rounded(value) == short
    assert type(rounded(value)) is type(short)


def test_thinned_places_are_even_and_keep_both_ends() -> None:
    assert thin_places(3, 5) == [0, 1, 2]
    assert thin_places(101, 5) == [0, 25, 50, 75, 100]


def unpack(packed: dict[str, Any]) -> list[dict[str, Any]]:
    def values(column: Any) -> list[Any]:
        if isinstance(column, list):
            return column
        return [column["all"]] * packed["count"] if "all" in column else [column["of"][place] for place in column["at"]]

    columns = {name: values(column) for name, column in packed["columns"].items()}
    return [{name: found[row] for name, found in columns.items()} for row in range(packed["count"])]


def test_columns_are_packed_in_the_shortest_form_and_mean_the_same() -> None:
    rows = [{"same": None, "few": ["a long text", 1 + i % 2], "many": i / 7} for i in range(20)]
    packed = pack_columns(rows)
    assert [type(column) for column in packed["columns"].values()] == [dict, dict, list]
    assert packed["columns"]["same"] == {"all": None}
    assert packed["columns"]["few"]["of"] == [["a long text", 1], ["a long text", 2]]
    assert unpack(packed) == rows
    assert unpack(pack_columns([])) == []


def test_cpu_percent_is_of_the_cores_and_between_samples() -> None:
    content = make_content(make_cell("torch"), [2.0, 1.0])
    content["utilisation"]["series"] = {
        "at_s": [0.0, 0.05, 1.0, 2.0, 4.0], "cpu_s": [0.0, 0.1, 1.0, None, 5.0], "rss_mib": [1.0, 9.0, 2.0, 3.0, 4.0],
        "gpus": [{"gpu_pct": [0, 0, 10, None, 30]}, {"gpu_pct": [0, 0, 20, None, None]}],
    }  # fmt: skip
    run = finish_run(RunPacker("results").pack(content), MOST_POINTS, cores=2)
    assert run["series"] == [[0, 1, 2, 4], [None, 50, None, None], [1, 2, 3, 4], [0, 15, None, 30]]


def test_curves_have_fewer_points_the_more_runs_there_are() -> None:
    content = make_content(make_cell("torch"), [1.0] * 200)
    whole = finish_run(RunPacker("results").pack(content), points_each(1), cores=2)
    assert whole["epochs"][0] == whole["epochs"][1]
    assert (len(whole["epochs"][0]), whole["epochs"][0][-1]) == (MOST_POINTS, 200)
    thin = finish_run(RunPacker("results").pack(content), points_each(5000), cores=2)
    assert thin["epochs"][0][0] == 1
    assert thin["epochs"][0][-1] == 200
    assert len(thin["epochs"][0]) < MOST_POINTS / 4


def test_steps_know_their_warm_ups() -> None:
    packed = RunPacker("results").pack(make_step_content(make_step_cell("torch"), [0.5, 0.1, 0.2, 0.1]))
    run = finish_run(packed, MOST_POINTS, cores=2)
    assert run["steps"] == [[1, 2, 3, 4], [500, 100, 200, 100], 1]
    assert run["measured"] == 0.1


def test_a_record_that_can_be_replayed_is_named_with_its_folder_for_a_shell() -> None:
    content = make_content(make_cell("torch"), [2.0], key="0123456789abcdef")
    named = RunPacker("my results").pack(content)["record"]
    assert shlex.split(named) == [f"my results/{record_name(content)}"]
    assert RunPacker("x").pack(content | {"status": "crashed"})["record"] is None


def test_a_run_of_the_page_says_why_it_failed_and_holds_no_path() -> None:
    content = make_content(make_cell("torch"), [2.0], status="crashed", reason="signal 11")
    run = finish_run(RunPacker("results").pack(content), MOST_POINTS, cores=2)
    assert run["reason"] == "signal 11"
    assert "record" not in run


def data_of(contents: list[dict[str, Any]]) -> dict[str, Any]:
    """The data of a page of these records, without charts."""
    records = (Record(content=content) for content in contents)
    return page_data(to_page_rows(records, "results"), Drawing(library="", charts={}))


def test_the_share_of_the_peak_is_of_the_canary_before_the_run() -> None:
    """10 samples a second, or 320 in steps of a batch of 32, against a canary of 100 · 10⁹ FLOPs a second."""
    contents = [
        make_content(make_cell("torch"), [1.0, 1.0]),
        make_step_content(make_step_cell("torch"), [9.0] + [0.1] * 3),
    ]
    contents.append(make_step_content(make_step_cell("torch", "forward"), [9.0, 0.1, 0.1, 0.1]))
    absent = [make_content(make_cell("torch", device="gpu"), [1.0, 1.0]), make_content(make_cell("null"), [1.0, 1.0])]
    network = make_cell().workload.network
    forward, train = forward_flops(network), train_flops(network)
    shares = [cell["peak_pct"] for cell in unpack(data_of([*contents, *absent])["cells"])]
    known = sorted(share[0] for share in shares if share)
    assert known == pytest.approx(sorted([10 * train / 1e9, 320 * train / 1e9, 320 * forward / 1e9]), rel=1e-5)
    assert shares.count(None) == 2


def test_the_command_of_a_cell_replays_the_run_that_finished_last() -> None:
    days = ("2026-01-01T10:00:01.000+00:00", "2026-01-01T10:00:03.000+00:00", "2026-01-01T10:00:02.000+00:00")
    contents = [make_content(make_cell("torch", repeat=run), [2.0], finished_at=day) for run, day in enumerate(days)]
    (cell,) = unpack(data_of(contents)["cells"])
    assert cell["command"] == f"python runner.py replay {shlex.quote(f'results/{record_name(contents[1])}')}"


def test_cpu_over_time_is_the_same_on_the_page_and_in_pictures() -> None:
    content = make_content(make_cell("torch"), [2.0])
    content["utilisation"]["series"] = {
        "at_s": [0.0, 0.0625, 0.125, 0.25, 0.3125, 0.5], "cpu_s": [0.0, 0.5, 0.125, 0.25, 0.5, 0.75],
        "rss_mib": [1.0] * 6, "gpus": [],
    }  # fmt: skip
    at_s, cpu_pct, *_ = finish_run(RunPacker("results").pack(content), MOST_POINTS, cores=2)["series"]
    drawn = [(row["at_s"], row["value"]) for row in series_rows(rows_of([content]), "CPU %")]
    assert drawn == [(0.125, 50.0), (0.25, 50.0), (0.5, 100.0)]
    assert list(zip(at_s, cpu_pct, strict=True))[1:] == drawn


def test_the_parts_of_a_cell_are_those_of_the_table() -> None:
    contents = [make_content(make_cell("torch", repeat=run), [4.0 + run, 2.0]) for run in range(2)]
    contents[1]["time"] |= {"start_s": None, "train_s": 1000.0}
    contents.append(make_content(make_cell("jax"), [1.0], status="crashed", reason="gone"))
    data = data_of(contents)
    parts = {cell["tool"]: cell["parts"] for cell in unpack(data["cells"])}
    drawn = {row["part"]: row["seconds"] for row in part_rows(rows_of(contents))}
    named = dict(zip(data["ledger"], parts["torch"], strict=True))
    assert {name: seconds for name, seconds in named.items() if seconds} == drawn
    assert (named["train"], parts["jax"]) == (4.0, None)


def test_a_sweep_names_the_cells_of_each_size() -> None:
    data = data_of([*nets_of_three_sizes(), make_content(make_cell("torch"), [1.0])])
    (sweep,) = data["sweeps"]
    groups, cells = unpack(data["groups"]), unpack(data["cells"])
    models = [{groups[cells[place]["group"]]["model"] for place in places} for _, places in sweep["sizes"]]
    assert sweep["parameter"] == "units"
    assert models == [{"mnist-mlp units=4"}, {"mnist-mlp units=16"}, {"mnist-mlp units=64"}]
    assert [crossing["label"].split()[0] for crossing in sweep["crossings"]] == ["jax"]


def test_what_records_share_is_kept_once() -> None:
    packer = RunPacker("results")
    one, other = (packer.pack(make_content(make_cell(tool), [2.0])) for tool in ("torch", "jax"))
    assert one["versions"] is other["versions"]
    assert one["proof"] is other["proof"]


def test_the_name_of_a_record_is_where_it_is_written(tmp_path: Path) -> None:
    content = make_step_content(make_step_cell("torch"), [0.5, 0.1, 0.2, 0.1])
    assert write_record(tmp_path, content) == tmp_path / record_name(content)


def test_data_within_html_ends_no_script() -> None:
    text = {"a": "</script><!--&\u2028\u2029"}
    escaped = escape_json(orjson.dumps(text).decode())
    assert not set("<>&\u2028\u2029") & set(escaped)
    assert orjson.loads(escaped) == text


def test_the_policy_names_the_scripts_by_their_digests_and_no_host() -> None:
    policy = content_policy(["alert(1)"], "a {}")
    assert "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_page_keeps_no_heavy_part_of_a_record() -> None:
    class Heavy(dict[str, Any]):
        """Unlike a dict, it can be watched going."""

    watched = []

    def records() -> Iterator[Record]:
        for tool in ("torch", "jax", "mxnet"):
            content = make_content(make_cell(tool), [2.0, 1.0])
            content["utilisation"]["series"] = Heavy()
            watched.append(ref(content["utilisation"]["series"]))
            yield Record(content=content)
        assert watched[0]() is None

    render_page(to_page_rows(records(), "results"), make_drawing())
    assert len(watched) == 3


def test_the_committed_records_have_commands_that_name_their_files() -> None:
    for folder in (Path("results"), Path("results-rigorous")):
        for record in read_records(folder):
            assert (folder / record_name(record.content)).is_file()


def test_no_rows_are_no_cells() -> None:
    assert page_data([], make_drawing())["cells"] == {"count": 0, "columns": {}}


def test_the_runner_loads_what_draws_charts_only_when_it_draws() -> None:
    script = "import runner, sys; print({'altair', 'vl_convert', 'harness.pictures'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True, capture_output=True, text=True)
    assert told.stdout == "set()\n"
