"""Every record becomes one line of `cells.csv` and `cells.parquet`, with what it holds and nothing that does harm."""

import csv
import errno
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.columns import COLUMNS
from harness.export import CellExport
from harness.places import PROJECT
from harness.records import Record, read_records
from harness.versions import name_versions
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import TARGET, make_workload
from workloads.errors import UserError

HOSTILE = [
    "<script>alert('x')</script>",
    'quotes " and "" and \'',
    "a | pipe, a comma; a semicolon",
    "two\nlines\r\nand three",
    "\u202eright to left\u202c",
    "nul \x00 and bell \x07",
    "\\ backslash \\N",
]
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", '=HYPERLINK("http://x", "y")']


def write(contents: list[dict[str, Any]], folder: Path) -> tuple[Path, Path]:
    """Write the cells of records and return the paths of CSV and Parquet."""
    export = CellExport()
    for content in contents:
        export.add(Record(content=content))
    cells_csv, cells_parquet = export.write(folder)
    return cells_csv, cells_parquet


def line_of(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write one record and return its line of the Parquet file, without what is empty."""
    frame = pd.read_parquet(write([content], folder)[1])
    return {name: value for name, value in frame.iloc[0].items() if not pd.isna(value)}


def csv_lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_of_epochs_is_one_line_with_its_numbers(tmp_path: Path) -> None:
    workload = make_workload("digits-cnn", {"epochs": 2, TARGET: 0.05})
    cell = make_cell("torch", workload=workload, price_per_hour=3.6)
    content = make_content(cell, [3.0, 1.0], error_rate=0.02, checks=[0.1, 0.02])
    content["versions"] |= {"packages": {"keras": "3", "torch": "2.13.0+cpu"}}
    content["utilisation"] |= {"energy_j": 40.0, "package_energy_j": 2.0}
    line = line_of(content, tmp_path)
    wanted = {
        "machine": "0123456789ab", "tool": "torch", "status": "ok", "workload": "digits-cnn",
        "workload_parameters": '{"epochs":2,"target_error_rate":0.05}', "epochs": 2, "samples": 20,
        "finished_at": pd.Timestamp("2026-01-01", tz="UTC"), "train_s": 4.0, "measured_s": 4.0, "first_step_s": 1.5,
        "samples_per_s": 5.0, "steady_samples_per_s": 10.0, "first_loss": 1.0, "last_loss": 1.0, "error_rate": 0.02,
        "target_epoch": 2, "target_steady_s": 2.0, "energy_j": 42.0,
        "energy_of": "the GPUs and the CPU packages, all their cores", "gpu_energy_j": 40.0, "parameters": 41_294,
        "package": "torch", "package_version": "2.13.0+cpu", "python": "3.11.7", "cpu": "Testium 9000",
    }  # fmt: skip
    assert {name: line[name] for name in wanted} == wanted
    assert line["cost"] == pytest.approx(content["time"]["total_s"] / 1000)
    assert "step_mean_ms" not in line


def test_a_run_of_steps_is_one_line_with_its_numbers(tmp_path: Path) -> None:
    line = line_of(make_step_content(make_step_cell(), [9.0, 1.0, 2.0, 3.0]), tmp_path)
    wanted = {"measured_s": 2.0, "train_s": 15.0, "steps": 3, "warmup": 1, "timed": 3, "step_mean_ms": 2000.0}
    wanted |= {"step_median_ms": 2000.0, "step_samples_per_s": 16.0, "first_loss": 2.0}
    assert {name: line[name] for name in wanted} == wanted
    assert line["step_std_ms"] == pytest.approx(1000 * (2 / 3) ** 0.5)
    assert line["step_samples_per_s_jitter"] == pytest.approx(1.4826 * (16 - 32 / 3))
    assert "samples_per_s" not in line


def test_the_worst_difference_of_a_level_leaves_dropout_aside(tmp_path: Path) -> None:
    finding = {"where": "", "holds": True, "fault": False, "note": None, "tolerance": 1e-4}
    found = [("S2", "float32", "outputs", 1e-7), ("S2", "float32", "logits", 3e-7), ("S3", "float64", "loss", 1e-15)]
    found += [("S3", "float32", "gradients", 2e-6), ("S3", "float32", "dropout 0.2, standard deviations off", 2.1)]
    findings = [
        finding | {"level": level, "precision": precision, "what": what, "worst": worst}
        for level, precision, what, worst in found
    ]
    verdict = {"level": "S3", "reason": None, "supported": True, "findings": findings}
    line = line_of(make_content(make_cell(), [1.0, 1.0], verdict=verdict), tmp_path)
    assert (line["s2_float32_worst"], line["s3_float32_worst"], line["s3_float64_worst"]) == (3e-7, 2e-6, 1e-15)
    assert "s2_float64_worst" not in line


@pytest.mark.parametrize(
    ("tool", "packages", "named"),
    [
        ("tensorflow-xla", {"tensorflow_cpu": "2.21.0"}, ["tensorflow-cpu", "2.21.0", None, None]),
        ("tensorflow", {"keras": "3.15.1", "tensorflow": "2.21.0"}, ["tensorflow", "2.21.0", None, None]),
        ("keras-tensorflow", {"tensorflow_cpu": "2", "keras": "3"}, ["keras", "3", "tensorflow-cpu", "2"]),
        ("keras-jax", {"jaxlib": "0.9", "jax": "0.9.1", "keras": "3"}, ["keras", "3", "jax", "0.9.1"]),
        ("mxnet", {"numpy": "1"}, [None] * 4),
        ("null", {"numpy": "2"}, [None] * 4),
    ],
)
def test_a_line_names_package_and_backend_as_tables_do(
    tool: str, packages: dict[str, str], named: list[str | None], tmp_path: Path
) -> None:
    content = make_content(make_cell(tool), [1.0, 1.0])
    content["versions"] |= {"packages": packages}
    line = line_of(content, tmp_path)
    assert [line.get(name) for name in ("package", "package_version", "backend", "backend_version")] == named
    main = {line[name]: line[f"{name}_version"] for name in ("package", "backend") if name in line}
    assert main.items() <= dict(name_versions(tool, content["versions"])).items()


def test_a_backend_alone_is_not_taken_for_the_main_package(tmp_path: Path) -> None:
    content = make_content(make_cell("keras-torch"), [1.0, 1.0])
    content["versions"] |= {"packages": {"torch": "2.13.0"}}
    line = line_of(content, tmp_path)
    assert (line["backend"], line["backend_version"]) == ("torch", "2.13.0")
    assert "package" not in line


def test_a_cell_that_failed_has_a_line_with_its_reason(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0], status="crashed", reason="ended by SIGSEGV")
    line = line_of(content | {"epochs": [], "time": dict.fromkeys(content["time"])}, tmp_path)
    assert (line["status"], line["reason"]) == ("crashed", "ended by SIGSEGV")
    assert not line.keys() & {"measured_s", "train_s", "samples_per_s", "first_loss"}


@pytest.mark.parametrize(
    "workload",
    [
        {"name": "nonesuch", "parameters": {}},
        {"name": "digits-cnn", "parameters": {"x": 1}},
        {"name": None, "parameters": {}},
    ],
)
def test_the_size_of_a_net_that_is_not_known_is_empty(workload: dict[str, Any], tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    content["cell"] |= {"workload": workload}
    assert "parameters" not in line_of(content, tmp_path)


def test_the_size_of_a_net_of_another_spec_is_empty(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    content["fingerprints"] |= {"spec": "0" * 64}
    assert "parameters" not in line_of(content, tmp_path)


def test_a_part_of_another_type_than_its_column_is_empty(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    odd = {"cores": "four", "container": 1, "git": "abc", "system": 7, "turbo": 1, "memory_limit_gib": []}
    content["host"] = {**content["host"], **odd}
    content["cell"] |= {"seed": 2**64 - 1}
    content["utilisation"] |= {"steady": {"throttle": 1, "others_pct": 2**64 - 1}, "rss_mib": "1 GiB"}
    line = line_of(content, tmp_path)
    assert line["steady_others_pct"] == 2.0**64
    assert not line.keys() & {"host_cores", "container", "git_commit", "turbo", "memory_limit_gib", "seed", "rss_mib"}
    assert "steady_throttle" not in line


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_they_were(text: str, tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0], reason=text)
    cells_csv, cells_parquet = write([content, make_content(make_cell(), [1.0, 1.0])], tmp_path)
    assert pd.read_parquet(cells_parquet)["reason"][0] == text
    lines = csv_lines(cells_csv)
    assert [line["reason"] for line in lines] == [text, ""]
    assert all(None not in line and len(line) == len(COLUMNS) for line in lines)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str, tmp_path: Path) -> None:
    cells_csv, cells_parquet = write([make_content(make_cell(), [1.0, 1.0], reason=text)], tmp_path)
    assert csv_lines(cells_csv)[0]["reason"] == f"'{text}"
    assert pd.read_parquet(cells_parquet)["reason"][0] == text


def test_a_negative_number_is_no_formula(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    content["time"] |= {"other_s": -0.5}
    assert csv_lines(write([content], tmp_path)[0])[0]["other_s"] == "-0.5"


def test_pandas_reads_each_column_as_its_kind_and_with_its_meaning(tmp_path: Path) -> None:
    cells_csv, cells_parquet = write([make_content(make_cell(), [1.0, 1.0])], tmp_path)
    frame = pd.read_parquet(cells_parquet)
    kinds = {"text": "str", "number": "float64", "whole": "Int64", "yes/no": "boolean", "moment": "datetime64[us, UTC]"}
    assert frame.dtypes.astype(str).to_dict() == {column.name: kinds[column.kind] for column in COLUMNS}
    assert frame.attrs["meanings"] == {column.name: column.meaning for column in COLUMNS}
    assert list(pd.read_csv(cells_csv).columns) == list(frame.columns)


def test_each_column_has_a_name_of_its_own() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


def test_the_same_records_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    contents = [
        make_content(make_cell(repeat=i), [1.0, 1.0], key=f"{i}", finished_at=f"2026-01-0{1 + i % 3}T00:00:00+01:00")
        for i in range(9)
    ]
    first, second = write(contents, tmp_path / "a"), write(contents[::-1], tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert [line["key"] for line in csv_lines(first[0])] == list("036147258")


def test_more_records_than_are_packed_at_once_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.export.BATCH", 2)
    contents = [make_content(make_cell(repeat=i), [1.0, 1.0], key=f"{i}") for i in range(5)]
    assert [line["repeat"] for line in csv_lines(write(contents, tmp_path)[0])] == list("01234")


def test_records_pass_through_one_by_one(tmp_path: Path) -> None:
    records = [Record(content=make_content(make_cell(repeat=i), [1.0, 1.0])) for i in range(3)]
    export = CellExport()
    passing = export.collect(iter(records))
    assert next(passing) is records[0]
    assert len(csv_lines(export.write(tmp_path)[0])) == 1
    assert list(passing) == records[1:]
    assert len(csv_lines(export.write(tmp_path)[0])) == 3


def test_no_records_give_a_header_alone(tmp_path: Path) -> None:
    cells_csv, cells_parquet = write([], tmp_path)
    assert len(cells_csv.read_text().splitlines()) == 1
    assert pd.read_parquet(cells_parquet).empty


def test_a_full_disk_is_said_and_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write([make_content(make_cell(), [1.0, 1.0])], tmp_path)
    before = [path.read_bytes() for path in paths]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cells\.csv cannot be written \(No space left on device\)\. Free some space"):
        write([], tmp_path)
    assert [path.read_bytes() for path in paths] == before


def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder belongs")
    with pytest.raises(UserError, match="Make the folder writable, or name another"):
        write([], tmp_path / "results")


def test_the_records_of_the_project_have_a_line_each(tmp_path: Path) -> None:
    export = CellExport()
    records = list(export.collect(read_records(PROJECT / "results-rigorous")))
    frame = pd.read_parquet(export.write(tmp_path)[1])
    assert len(frame) == len(records)
    parts = frame[["start_s", "import_s", "device_s", "data_s", "weights_s", "build_s", "train_s", "evaluate_s"]]
    rest = frame[["checks_s", "end_s", "other_s"]].sum(axis=1)
    assert (parts.sum(axis=1) + rest).to_numpy() == pytest.approx(frame["total_s"].to_numpy())
    assert frame["parameters"].notna().all()
