"""What stands below a table: machine, versions, dates, runs, and what its times are of."""

from collections.abc import Iterable, Sequence

from harness.frames import Row
from harness.markdown import counted, escape
from harness.records import ABSENT
from harness.speed import median_peak_pct

TIME_OF = {
    "epochs": "Time is training alone: all epochs with the first step and its compilation, and with validation where "
    "the workload has it.",
    "forward": "A `forward` step is inference on a batch that lies on the device, its output copied to the host.",
    "gradients": "A `gradients` step is the loss and every gradient of a batch that lies on the device, copied to the "
    "host, without an update.",
    "train": "A `train` step is one update on a batch that lies on the device, and the loss before it.",
}
"""What times are of, by measure."""


def describe_table(rows: Sequence[Row]) -> str:
    """Return one paragraph that lets a table of these cells stand alone."""
    where = "; ".join(dict.fromkeys(_machine(row) for row in rows))
    measures = sorted({row["measure"] for row in rows})
    times = [TIME_OF[name] for name in measures if name in TIME_OF]
    return " ".join([f"{where}.", *_versions(rows), *_runs(rows), *times])


def describe_peaks(rows: Sequence[Row]) -> list[str]:
    """Return a paragraph that says what the shares of the peak in a table are of, where one is known."""
    peaks = sorted(row["machine_peak_gflops"] for row in rows if median_peak_pct(row) > 0)
    if not peaks:
        return []
    least, most = f"{peaks[0]:,.0f}", f"{peaks[-1]:,.0f}"
    of = f"{least} GFLOP/s" if least == most else f"{least} to {most} GFLOP/s"
    return [f"% of peak: FLOPs of the spec's net a second, of {of}, what matrix products reached beside.", ""]


def _machine(row: Row) -> str:
    return f"{escape(row['cpu'])} with {row['memory_gib']:g} GiB, {escape(row['gpu_names']) or 'no GPU'}"


def _versions(rows: Iterable[Row]) -> list[str]:
    """Return the versions of all runs, with the tools where a package has several."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for row in rows:
        for run in row["runs"]:
            for name, version in run["named_versions"]:
                found.setdefault(name, {}).setdefault(version, {})[str(row["tool"])] = None
    if not found:
        return []
    several = any(
        sum(tool in tools for tools in versions.values()) > 1
        for versions in found.values()
        for tool in set().union(*versions.values())
    )
    parts = [_package(name, found[name]) for name in sorted(found, key=lambda name: (name != "Python", name))]
    return [", ".join(parts) + "."] + (["Runs of one tool are of different versions."] if several else [])


def _package(name: str, versions: dict[str, dict[str, None]]) -> str:
    if len(versions) == 1:
        return escape(f"{name} {next(iter(versions))}")
    each = (f"{version} ({', '.join(sorted(tools))})" for version, tools in sorted(versions.items()))
    return escape(f"{name} {' and '.join(each)}")


def _runs(rows: Iterable[Row]) -> list[str]:
    """Return when the runs of cells were, and how many there are of each."""
    tried = [row for row in rows if row["status"] not in ABSENT]
    if not tried:
        return []
    days = sorted({str(run["finished_at"])[:10] for row in tried for run in row["runs"]})
    when = f"on {escape(days[0])}" if len(days) == 1 else f"from {escape(days[0])} to {escape(days[-1])}"
    least, most = (pick(row["repeats"] for row in tried) for pick in (min, max))
    each = counted(most, "run") if least == most else f"{least} to {counted(most, 'run')}"
    return [f"{each} a cell, {when} (UTC)."]
