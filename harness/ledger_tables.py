"""Where the time of a run went, and which tool is ahead in short and in long jobs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from harness.frames import Row, rank_rows
from harness.ledger import JobTime, job_time, overtaking_epoch
from harness.markdown import MISSING, Section, escape, to_markdown, without_empty
from harness.ranking import enough_runs
from harness.record_shape import LEDGER
from harness.statistics import differ

LEDGER_EXPLANATION = [
    "The ledger says where the wall time of a run went, from the launch of its process to its exit: the parts, means",
    "over the runs, add up to `one short run`. `start` is the interpreter's start, `first step` holds compilation,",
    "`checks` are looks at the error rate between epochs, `end` is reporting and shutting down. `long job` is what",
    "each further epoch takes, the median epoch without the first. Overtakes names the tools that take less for one",
    "epoch, each with the number of epochs from which on this tool takes less: from medians, where their epochs differ",
    "significantly or runs are too few to tell.",
    "",
]
NAMES = [name.removesuffix("_s") for name in LEDGER]


def render_ledger(place: str, rows: Iterable[Row]) -> list[Section]:
    """Return the ledger of the tools of one model on one device that came out well; nothing if there are none."""
    order = rank_rows(rows, "train_s")
    kept = [row for row in order if _times(row)]
    if not kept:
        return []
    jobs = {row["tool"]: _jobs(row) for row in kept if row["ranked"]}
    table = without_empty([_line(row, jobs) for row in kept], NAMES)
    caption = "Seconds: means over the runs of the table above, medians for the long job."
    return [Section(title=f"Where the time goes: {place}", lines=[to_markdown(table), "", caption, ""])]


def _times(row: Row) -> list[dict[str, float | None]]:
    """Return the ledgers of a cell that came out well: without old ones and those of workers that did not exit."""
    times = [run["time"] for run in row["runs"]] if row["status"] == "ok" else []
    return [time for time in times if time["start_s"] is not None and time["total_s"] is not None]


def mean_parts(row: Row) -> dict[str, float | None]:
    """Return the means of a ledger's parts over a cell's runs, the first step by itself; none without runs."""
    times = _times(row)
    parts: dict[str, float | None] = {}
    for name in NAMES if times else []:
        if name == "train":
            parts["first step"] = _mean([time["first_step_s"] for time in times])
            parts[name] = _mean([_difference(time["train_s"], time["first_step_s"]) for time in times])
        else:
            parts[name] = _mean([time[f"{name}_s"] for time in times])
    return parts


def _line(row: Row, jobs: Mapping[str, Sequence[JobTime]]) -> dict[str, str]:
    times = _times(row)
    parts = {name: _shown(mean) for name, mean in mean_parts(row).items()}
    steady = [time["steady_epoch_s"] for time in times if time["steady_epoch_s"] is not None]
    return {
        "Tool": escape(str(row["tool"])),
        **parts,
        "one short run": _shown(_mean([time["total_s"] for time in times])),
        "long job, an epoch": f"{statistics.median(steady):.3f}" if steady else MISSING,
        "Overtakes": _overtaken(str(row["tool"]), jobs),
    }


def _difference(whole: float | None, part: float | None) -> float | None:
    return None if whole is None else whole - (part or 0.0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _shown(mean: float | None) -> str:
    return MISSING if mean is None else f"{mean:.2f}"


def _jobs(row: Row) -> list[JobTime]:
    """Return the line of each of a tool's runs that has one."""
    return [job for run in row["runs"] if run["status"] == "ok" and (job := job_time(run))]


def _typical(jobs: Sequence[JobTime]) -> JobTime:
    return JobTime(
        fixed_s=statistics.median(job.fixed_s for job in jobs), epoch_s=statistics.median(job.epoch_s for job in jobs)
    )


def _overtaken(tool: str, jobs: Mapping[str, Sequence[JobTime]]) -> str:
    mine = jobs.get(tool)
    if not mine:
        return MISSING
    found = {
        other: epoch
        for other, theirs in jobs.items()
        if theirs
        and (epoch := overtaking_epoch(_typical(mine), _typical(theirs))) is not None
        and _may_differ(mine, theirs)
    }
    ordered = sorted(found.items(), key=lambda item: item[1])
    return ", ".join(f"{escape(other)} ({epoch})" for other, epoch in ordered) or MISSING


def _may_differ(mine: Sequence[JobTime], theirs: Sequence[JobTime]) -> bool:
    """Whether the steady epochs of two tools differ, or runs are too few to tell."""
    epochs = [[job.epoch_s for job in jobs] for jobs in (mine, theirs)]
    return not enough_runs(*epochs) or differ(*epochs)
