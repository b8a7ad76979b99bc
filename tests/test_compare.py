"""Made-up records of two folders against what must be said of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.audit import no_verdict
from harness.compare import (
    Change,
    compare,
    find_failures,
    learned_less,
    read_conditions,
    render_comparison,
    render_json,
)
from harness.records import Record, write_record
from runner import main
from tests.helpers import HOST, make_cell, make_content, make_step_cell, make_step_content
from workloads.errors import UserError

BEFORE_S = [4.0, 4.1, 4.2, 4.3, 4.4]
AFTER_S = [6.0, 6.1, 6.3, 6.4, 6.5]
TORCH = "torch · CPU, 2 cores · digits-cnn epochs=2 · batch 32 · float32 · 2 epochs · seed 0"
ELSEWHERE = {**HOST, "machine": "ffffffffffff", "cpu": "Elsewhere 1"}


def repeats(times_s: list[float], tool: str = "torch", **changes: Any) -> list[dict[str, Any]]:
    """One record for each of these seconds of training."""
    return [make_content(make_cell(tool, repeat=i), [s / 2, s / 2], **changes) for i, s in enumerate(times_s)]


def compared(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[Change]:
    return compare(*([Record(content=content) for content in contents] for contents in (first, second)))


def verdicts(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[str]:
    return [change.verdict for change in compared(first, second)]


def write(folder: Path, contents: list[dict[str, Any]]) -> str:
    for content in contents:
        write_record(folder, content)
    return str(folder)


def below_s3() -> dict[str, Any]:
    return no_verdict("the proof's process ended")


def test_a_slower_cell_has_its_ratio_and_the_interval_around_it() -> None:
    (change,) = compared(repeats(BEFORE_S), repeats(AFTER_S))
    assert (change.name, change.verdict, change.ratio) == (TORCH, "slower", pytest.approx(6.3 / 4.2))
    assert change.interval is not None
    low, high = change.interval
    assert 6.0 / 4.4 <= low < 1.5 < high <= 6.5 / 4.0


def test_a_faster_cell_has_a_ratio_below_one() -> None:
    (change,) = compared(repeats(AFTER_S), repeats(BEFORE_S))
    assert (change.verdict, change.ratio) == ("faster", pytest.approx(4.2 / 6.3))


def test_times_that_overlap_are_the_same_and_so_are_equal_ones() -> None:
    assert verdicts(repeats([4.0, 4.3, 4.1, 4.4, 4.2]), repeats([4.05, 4.35, 4.15, 4.45, 4.25])) == ["same"]
    assert verdicts(repeats([4.0] * 5), repeats([4.0] * 5)) == ["same"]


def test_three_repeats_are_too_few_and_show_their_ratio() -> None:
    (change,) = compared(repeats(BEFORE_S[:3]), repeats(AFTER_S[:3]))
    assert (change.verdict, change.ratio, change.interval) == ("too few", pytest.approx(6.1 / 4.1), None)


@pytest.mark.parametrize(
    "broken",
    [{"status": "crashed", "reason": "ended by SIGSEGV"}, {"verdict": below_s3()}],
    ids=["not ok", "not proven"],
)
def test_a_cell_that_breaks_is_wrong_and_one_that_is_mended_fixed(broken: dict[str, Any]) -> None:
    good, bad = repeats(BEFORE_S), [*repeats(BEFORE_S)[:4], repeats(BEFORE_S, **broken)[4]]
    assert verdicts(good, bad) == ["wrong"]
    assert verdicts(bad, good) == ["fixed"]
    assert verdicts(bad, bad) == ["unranked"]


def test_a_cell_of_one_folder_is_missing_or_new() -> None:
    both, more = repeats(BEFORE_S), repeats(BEFORE_S, "jax")
    assert [(c.verdict, c.name.split()[0]) for c in compared(both + more, both)] == [
        ("missing", "jax"),
        ("same", "torch"),
    ]
    assert [(c.verdict, c.name.split()[0]) for c in compared(both, both + more)] == [("new", "jax"), ("same", "torch")]


def test_what_was_not_run_is_not_there_and_says_why() -> None:
    absent = repeats([1.0], status="unsupported", reason="retired")
    changes = compared(repeats(BEFORE_S), absent)
    assert [change.verdict for change in changes] == ["missing"]
    assert "unsupported [1]" in render_comparison(changes, "a", "b")
    assert "1. retired" in render_comparison(changes, "a", "b")
    assert verdicts(absent, repeats(BEFORE_S)) == ["new"]
    assert "Nothing was run in either." in render_comparison(compared(absent, absent), "a", "b")


def test_steps_are_compared_by_the_median_of_the_timed_ones_of_each_repeat() -> None:
    def steps(factor: float) -> list[dict[str, Any]]:
        return [
            make_step_content(make_step_cell("torch", repeat=i), [90.0, 1.0, factor * (2.0 + i / 10), 50.0])
            for i in range(5)
        ]

    (change,) = compared(steps(1.0), steps(2.0))
    assert (change.verdict, change.ratio) == ("slower", pytest.approx(4.4 / 2.2))
    assert "train, 1 warm-up and 3 timed steps" in change.name
    assert "| 2200.00 ms | 4400.00 ms |" in render_comparison([change], "a", "b")


def test_the_floor_needs_no_proof_and_its_times_are_not_compared() -> None:
    first, second = (repeats(times_s, "null", verdict=below_s3()) for times_s in (BEFORE_S, AFTER_S))
    (change,) = compared(first, second)
    assert (change.verdict, change.ratio) == ("unranked", None)
    assert find_failures([change], read_conditions(["slower:1%,wrong"])) == ([], [])
    assert verdicts(first, repeats(AFTER_S, "null", status="crashed", reason="ended by SIGSEGV")) == ["wrong"]


def test_a_cell_that_learns_less_is_wrong_however_fast_it_is() -> None:
    first, second = repeats(BEFORE_S, error_rate=0.01), repeats([s / 2 for s in BEFORE_S], error_rate=0.05)
    (change,) = compared(first, second)
    assert (change.verdict, change.ratio) == ("wrong", pytest.approx(0.5))
    assert find_failures([change], read_conditions(["wrong"]))[0] == [f"wrong: {TORCH}: B / A = {change.ratio_text}"]
    assert "1.00 %, 5.00 %" in render_comparison([change], "a", "b")
    assert render_json([change]) == "[]"
    (slow,) = compared(first, repeats(AFTER_S, error_rate=0.05))
    assert slow.verdict == "wrong"
    assert len(find_failures([slow], read_conditions(["slower:5%", "wrong"]))[0]) == 2
    assert verdicts(first, repeats(BEFORE_S, error_rate=0.03)) == ["same"]
    assert learned_less(21 / 1000, 51 / 1000)
    assert verdicts(first, [*second[:4], first[4]]) == ["same"]


def test_what_disturbed_a_run_and_another_speed_of_the_machine_are_said() -> None:
    second = [content | {"canary": content["canary"] | {"gflops": 75.0}} for content in repeats(AFTER_S)]
    second[0]["utilisation"]["others_pct"] = 30.0
    changes = compared(repeats(BEFORE_S), second)
    shown = render_comparison(changes, "a", "b")
    assert "the machine itself was at 100 GFLOP/s in A and at 75 in B" in shown
    assert "others took up to 30 % of its cores in 1 of 5 runs" in shown
    (failure,), _ = find_failures(changes, read_conditions(["slower:5%"]))
    assert failure.endswith("; the machine itself was at 100 GFLOP/s in A and at 75 in B")


def test_the_order_is_from_what_needs_a_look_to_what_does_not() -> None:
    slower = repeats(AFTER_S, "jax") + repeats([3 * s for s in BEFORE_S], "mxnet")
    first = repeats(BEFORE_S) + repeats(BEFORE_S, "jax") + repeats(BEFORE_S, "mxnet") + repeats([1.0], "keras-jax")
    second = repeats(BEFORE_S) + slower + repeats([1.0], "keras-torch")
    assert [(c.verdict, c.name.split()[0]) for c in compared(first, second)] == [
        ("missing", "keras-jax"),
        ("slower", "mxnet"),
        ("slower", "jax"),
        ("new", "keras-torch"),
        ("same", "torch"),
    ]


def test_only_the_newest_version_of_a_cell_counts() -> None:
    old = repeats([100.0] * 5, finished_at="2025-01-01T00:00:00+00:00")
    for content in old:
        content["fingerprints"]["adapter"] = "an older adapter"
    (change,) = compared(old + repeats(BEFORE_S), repeats(BEFORE_S))
    assert (change.verdict, change.ratio) == ("same", 1.0)


def test_changed_versions_are_named() -> None:
    first, second = repeats(BEFORE_S), repeats(BEFORE_S)
    for content in second:
        content["fingerprints"] |= {"adapter": "another", "environment": "another"}
        content["versions"] = {"python": "3.12.1", "packages": {"numpy": "3", "torch": "2.9.1"}}
    text = render_comparison(compared(first, second), "a", "b")
    assert "1. Changed: adapter, environment, numpy 2 → 3, python 3.11.7 → 3.12.1, torch none → 2.9.1" in text
    assert "Changed:" not in render_comparison(compared(first, first), "a", "b")


def test_a_run_that_got_nowhere_tells_no_versions() -> None:
    crashed = repeats([1.0], status="failed", reason="no", versions={"python": None, "packages": None})
    assert "Changed:" not in render_comparison(compared(repeats(BEFORE_S), crashed), "a", "b")


def test_the_comparison_reads_as_a_table() -> None:
    text = render_comparison(compared(repeats(BEFORE_S), repeats(AFTER_S)), "old", "new")
    assert "- A: old; machine 0123456789ab: Testium 9000, 16 GiB, no GPU" in text
    assert "- slower (1): B takes longer than A, significantly" in text
    row = [word.strip() for word in text.splitlines()[-1].split("|")[1:-1]]
    assert row == [TORCH, "slower", "4.20 s", "6.30 s", "1.50 (1.40 – 1.59)", "1.00 %, 1.00 %", "5 / 5", "–"]


def test_hostile_text_stays_in_its_cell() -> None:
    first = repeats(BEFORE_S)
    second = repeats([1.0], status="failed", reason="a | b\n<script>")
    for content in first + second:
        content["cell"]["model"] = "x | y <b>"
    second[0]["versions"] = {"python": "3", "packages": {"<i>": "1|2"}}
    text = render_comparison(compared(first, second), "<a>|", "b")
    assert "- A: &lt;a>\\|; machine" in text
    assert "· x \\| y &lt;b> ·" in text
    assert "1. a \\| b &lt;script>" in text
    assert "&lt;i> none → 1\\|2" in text
    assert "<" not in text


def test_several_machines_are_compared_each_with_itself() -> None:
    first = repeats(BEFORE_S) + repeats(AFTER_S, host=ELSEWHERE)
    second = repeats(AFTER_S) + repeats(BEFORE_S, host=ELSEWHERE)
    assert [(c.verdict, c.name) for c in compared(first, second)] == [
        ("slower", f"0123456789ab · {TORCH}"),
        ("faster", f"ffffffffffff · {TORCH}"),
    ]


def test_two_machines_are_compared_with_one_another() -> None:
    changes = compared(repeats(BEFORE_S), repeats(AFTER_S, host=ELSEWHERE))
    assert [(change.verdict, change.name) for change in changes] == [("slower", TORCH)]
    assert "- B: b; machine ffffffffffff: Elsewhere 1," in render_comparison(changes, "a", "b")


def test_machines_that_do_not_match_are_an_error() -> None:
    with pytest.raises(UserError, match=r"A holds the machines 0123456789ab, ffffffffffff and B 0123456789ab; acc"):
        compared(repeats([1.0]) + repeats([1.0], host=ELSEWHERE), repeats([1.0]))


def test_suites_are_never_compared() -> None:
    with pytest.raises(UserError, match="A holds records of suite 2 and B of suite 0, 2; accepted: one suite"):
        compared(repeats([1.0]), repeats([1.0]) + repeats([1.0], "jax", suite="0"))


def test_json_has_the_times_of_b_as_the_benchmark_action_reads_them() -> None:
    broken = repeats([1.0], "jax", status="crashed", reason="no")
    six = repeats([*AFTER_S, 6.6], error_rate=0.0125)
    gone = repeats([1.0], "mxnet")
    entries = json.loads(render_json(compared(repeats(BEFORE_S) + gone, six + broken)))
    assert entries == [
        {
            "name": TORCH,
            "unit": "s",
            "value": pytest.approx(6.35),
            "range": "6.0000 – 6.6000",
            "extra": "repeats: 6.0000, 6.1000, 6.3000, 6.4000, 6.5000, 6.6000 s\n"
            "against A: slower, B / A = 1.51 (1.42 – 1.60)\nsame net: S3\nerror rate: 1.25 %",
        }
    ]


def test_json_has_no_range_for_few_repeats_and_steps_in_ms() -> None:
    steps = make_step_content(make_step_cell("torch"), [9.0, 0.01, 0.02, 0.03])
    steps["fingerprints"]["spec"] = "another"
    before = make_step_content(make_step_cell("torch"), [9.0, 0.01, 0.01, 0.03])
    (entry,) = json.loads(render_json(compared([before], [steps])))
    assert {name: entry[name] for name in entry if name != "name"} == {
        "unit": "ms",
        "value": 20.0,
        "extra": "repeats: 20.0000 ms\nagainst A: too few, B / A = 2.00\nsame net: S3\nchanged: spec",
    }


def test_names_of_cells_differ_where_cells_do() -> None:
    cells = [make_cell("torch"), make_cell("torch", seed=1), make_cell("torch", device="gpu")]
    cells += [make_cell("torch", precision="bfloat16"), make_step_cell("torch"), make_step_cell("torch", "forward")]
    contents = [(make_step_content if cell.steps else make_content)(cell, [2.0, 1.0]) for cell in cells]
    assert len({change.name for change in compared(contents, contents)}) == len(cells)


@pytest.mark.parametrize(
    ("given", "failing"),
    [
        (["slower:5%"], ["slower:5%: torch"]),
        (["slower:49.9%"], ["slower:49.9%: torch"]),
        (["slower:50.1%"], []),
        (["wrong,missing"], ["wrong: jax", "missing: mxnet"]),
        (["wrong", "slower:5%"], ["wrong: jax", "slower:5%: torch"]),
        ([], []),
    ],
)
def test_what_fails_is_what_was_asked_for(given: list[str], failing: list[str]) -> None:
    first = repeats(BEFORE_S) + repeats(BEFORE_S, "jax") + repeats(BEFORE_S, "mxnet") + repeats([1.0], "tensorflow")
    second = (
        repeats(AFTER_S) + repeats([1.0], "jax", status="timeout", reason="too slow") + repeats([1.1], "tensorflow")
    )
    failures, doubts = find_failures(compared(first, second), read_conditions(given))
    assert [line.split(" · ")[0] for line in failures] == failing
    doubted = [] if "slower:5%" not in given else ["slower:5%: tensorflow"]
    assert [line.split(" · ")[0] for line in doubts] == doubted


@pytest.mark.parametrize("given", ["sower", "slower", "slower:5", "slower:-5%", "slower:x%", "wrong,", ""])
def test_an_unknown_condition_names_the_known_ones(given: str) -> None:
    with pytest.raises(UserError, match=r"at --fail-on; accepted: missing, slower:5% \(or another number\), wrong"):
        read_conditions([given])


def test_compare_prints_and_its_exit_code_says_whether_something_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write(tmp_path / "a", repeats(BEFORE_S)), write(tmp_path / "b", repeats(AFTER_S))
    assert main(["compare", old, new]) == 0
    assert "- slower (1)" in capsys.readouterr().out
    assert main(["compare", new, old, "--fail-on", "slower:5%,wrong,missing"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["compare", old, new, "--fail-on", "missing", "--fail-on", "slower:5%", "--format", "json"]) == 1
    printed = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(printed.out)] == [TORCH]
    assert printed.err == f"failed on slower:5%: {TORCH}: B / A = 1.50 (1.40 – 1.59)\n"


def test_a_slowdown_with_too_few_repeats_is_said_and_does_not_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write(tmp_path / "a", repeats(BEFORE_S[:3])), write(tmp_path / "b", repeats(AFTER_S[:3]))
    assert main(["compare", old, new, "--fail-on", "slower:5%"]) == 0
    told = capsys.readouterr().err
    assert told == f"slower:5%: {TORCH}: B / A = 1.49, but the repeats are too few to tell; run 5 or more of each\n"


def test_a_slowdown_whose_runs_overlap_is_said_and_does_not_fail() -> None:
    overlapping = [5.0, 5.2, 5.1, 5.3, 4.3]
    changes = compared(repeats([4.0, 4.1, 4.2, 4.3, 4.4]), repeats(overlapping))
    failures, (doubt,) = find_failures(changes, read_conditions(["slower:5%"]))
    assert failures == []
    assert doubt.endswith("but the runs of A and B overlap too much to tell")


def test_bad_input_is_one_message_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "a", repeats([1.0]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for folder, message in (
        ("none", "none holds no records; accepted: a results folder"),
        ("empty", "empty holds no records"),
        ("file", "file is a file; accepted: a folder"),
    ):
        for arguments in ([old, str(tmp_path / folder)], [str(tmp_path / folder), old]):
            assert main(["compare", *arguments]) == 2
            printed = capsys.readouterr()
            assert message in printed.err
            assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert main(["compare", old, old, "--fail-on", "sower"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "a"], "required: B"),
        (["--results", "x", "compare", "a", "b"], "--results does not go with compare"),
        (["--fast", "compare", "a", "b"], "--repeats (or --fast) does not go with compare"),
        (["compare", "a", "b", "--format", "csv"], "invalid choice: 'csv'"),
    ],
)
def test_an_option_that_does_not_belong_is_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
