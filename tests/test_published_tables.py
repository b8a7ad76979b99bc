"""Published figures as tables: which belong to a workload, how they look, and what they say of themselves."""

from pathlib import Path

import pytest

from harness.plan import STEP_KINDS
from harness.published import load_published
from harness.published_tables import HEAD, published_figures, render_published

GOLDEN = Path(__file__).parent / "golden"


def table_rows(lines: list[str]) -> list[list[str]]:
    """The cells of a rendered table's rows, without its head."""
    rows = [line for line in "\n".join(lines).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_table_is_the_golden_one() -> None:
    text = "\n".join(
        [
            *render_published(["mnist-cnn"], 128, "epochs"),
            *render_published(["cifar10-resnet"], 64, "train"),
            *render_published(["alexnet-owt"], 128, "forward"),
            *render_published(["resnet50"], 32, "train"),
        ]
    )
    assert text == (GOLDEN / "published_tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "batch_size", "measure"),
    [
        ("mnist-cnn", 64, "epochs"),
        ("mnist-cnn", 128, "train"),
        ("mnist-cnn epochs=2", 128, "epochs"),
        ("mnist-mlp units=64 epochs=2", 128, "epochs"),
        ("mnist-mlp units=5", 128, "epochs"),
        ("digits-cnn", 32, "epochs"),
        ("resnet50-v1.5", 32, "train"),
    ],
)
def test_nothing_is_shown_of_another_workload(model: str, batch_size: int, measure: str) -> None:
    assert render_published([model], batch_size, measure) == []


def test_a_default_parameter_is_not_in_a_label_and_a_target_makes_no_other_workload() -> None:
    assert [figure.train_s for figure in published_figures(["mnist-mlp"], 128, "epochs")] == [128.9178, 37.803]
    assert [one.train_s for one in published_figures(["mnist-mlp units=64"], 128, "epochs")] == [21.3826, 33.0307]
    with_target = render_published(["mnist-mlp units=64 target_error_rate=0.03"], 128, "epochs")
    assert with_target == render_published(["mnist-mlp units=64"], 128, "epochs") != []


def test_every_figure_is_in_a_table_that_says_it_was_not_measured() -> None:
    places = {(f.workload.label, f.workload.batch_size, f.measure) for f in load_published()}
    tables = [render_published([model], batch_size, measure) for model, batch_size, measure in places]
    assert all(
        lines[: len(HEAD)] == HEAD and lines[0].startswith("**Published, not measured here**") for lines in tables
    )
    assert sum(len(table_rows(lines)) for lines in tables) == len(load_published())
    assert {measure for _, _, measure in places} == {"epochs", *STEP_KINDS}


def test_figures_keep_the_order_of_their_source_and_get_no_rank() -> None:
    lines = render_published(["mnist-cnn"], 128, "epochs")
    seconds = [float(row[3]) for row in table_rows(lines)]
    assert seconds[:3] == [25.85, 36.87, 35.87]
    assert seconds != sorted(seconds)
    assert "| System " in lines[len(HEAD) + 1]
    assert "Rank" not in lines[len(HEAD) + 1] and "vs best" not in lines[len(HEAD) + 1]


def test_a_rounded_figure_gets_no_decimals_that_were_not_published() -> None:
    times = {row[3] for row in table_rows(render_published(["mnist-cnn"], 128, "epochs"))}
    assert {"38", "131.90"} <= times
    assert not {"38.00", "38.0", "131.9"} & times


def test_sizes_of_a_net_stand_in_one_table_that_names_them() -> None:
    lines = render_published(["mnist-mlp", "mnist-mlp units=4", "mnist-mlp units=5"], 128, "epochs")
    assert "| Model " in lines[len(HEAD) + 1]
    assert [row[0] for row in table_rows(lines)] == ["mnist-mlp units=4"] * 2 + ["mnist-mlp"] * 2
