"""The only door: reads the command line and hands over to the harness."""

import argparse
import contextlib
import gc
import signal
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from frameworks import FLOOR
from harness.audit import PROVEN, proven_workload, render_ladder, worst_judgement
from harness.compare import compare, find_failures, read_conditions, render_comparison, render_json
from harness.doctor import examine
from harness.host import available_cores, describe_host
from harness.places import PROJECT
from harness.plan import Cell, load_matrix, mark_unavailable, repeat_cells, select, shuffle_cells
from harness.records import ABSENT, Planned, Record, hold_results, read_records, write_whole
from harness.replay import replay
from harness.rigour import LEAST_REPEATS, MOST_REPEATS, next_round
from harness.self_cost import PAIRS, report_self_cost
from harness.session import (
    drifted_cells,
    judge_curves,
    plan_session,
    prepare_environments,
    prove_cells,
    run_session,
)
from harness.tables import render_markdown
from harness.view import SessionView
from workloads.errors import UserError

OPTIONS_OF = {
    "report": ("results",),
    "audit": ("matrix", "only", "results"),
    "compare": ("first", "second", "fail_on", "format"),
    "replay": ("record",),
    "doctor": ("self_cost", "pairs"),
}
"""What each command takes of the options of a run."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse ends the program with code 2 for what it does not know."""
    parser = argparse.ArgumentParser(description="Train the very same net in every framework and compare.")
    parser.add_argument("--results", type=Path, default=PROJECT / "results", help="folder of records and tables")
    parser.add_argument("--matrix", type=Path, default=PROJECT / "matrix.yaml", help="what to run (%(default)s)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=VALUE,...", help="run a part, e.g. tool=torch,jax"
    )
    repeats = parser.add_mutually_exclusive_group()
    repeats.add_argument("--repeats", type=int, help="run every cell so many times, instead of what the matrix says")
    repeats.add_argument("--fast", action="store_const", dest="repeats", const=1, help="run every cell once")
    repeats.add_argument(
        "--rigorous",
        action="store_true",
        help=f"run every cell {LEAST_REPEATS} to {MOST_REPEATS} times, until its ratio to the best is known to 2 %%",
    )
    parser.add_argument("--fresh", action="store_true", help="run cells again that are done")
    parser.add_argument("--plan", action="store_true", help="print what would run, and run nothing")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for cells that are not to be had here, too")
    commands = parser.add_subparsers(dest="command", metavar="")
    report = commands.add_parser("report", help="write the tables again, from the records")
    report.add_argument("--results", type=Path, default=argparse.SUPPRESS, help="folder of records and tables")
    audit = commands.add_parser("audit", help="prove that every tool trains the spec's net, and print the proof")
    audit.add_argument("--matrix", type=Path, default=argparse.SUPPRESS, help="whose tools and models")
    audit.add_argument("--only", action="append", default=argparse.SUPPRESS, metavar="AXIS=VALUE,...", help="a part")
    audit.add_argument("--results", type=Path, default=argparse.SUPPRESS, help="whose loss curves are judged")
    against = commands.add_parser("compare", help="say what changed from one results folder to another")
    against.add_argument("first", type=Path, metavar="A", help="folder of records, such as results/MACHINE")
    against.add_argument("second", type=Path, metavar="B", help="folder of records that is compared with A")
    against.add_argument(
        "--fail-on", action="append", default=[], metavar="WHAT,...", help="exit code 1 for slower:5%%, wrong, missing"
    )
    against.add_argument("--format", choices=("markdown", "json"), default="markdown", help="(%(default)s)")
    again = commands.add_parser("replay", help="run a record's cell again and say whether it comes out as stored")
    again.add_argument("record", type=Path, metavar="RECORD", help="JSON file of a results folder")
    doctor = commands.add_parser("doctor", help="say which tools, devices and data sets are here")
    doctor.add_argument("--self-cost", action="store_true", help="measure what watching a training costs it")
    doctor.add_argument("--pairs", type=int, help=f"of stretches, for --self-cost ({PAIRS})")
    chosen = parser.parse_args(arguments)
    if chosen.command:
        accepted = {"command", *OPTIONS_OF[chosen.command]}
        for name in vars(chosen).keys() - accepted:
            if getattr(chosen, name) != parser.get_default(name):
                option = "repeats (or --fast)" if name == "repeats" else name.replace("_", "-")
                parser.error(f"--{option} does not go with {chosen.command}")
        if chosen.command == "doctor" and chosen.pairs is not None and not chosen.self_cost:
            parser.error("--pairs goes with --self-cost")
    return chosen


def run_matrix(arguments: argparse.Namespace, console: Console) -> int:
    """Fill the matrix and print its tables; exit code 1 if a cell failed."""
    host = describe_host()
    cells = select(load_matrix(arguments.matrix), arguments.only)
    if arguments.rigorous or arguments.repeats is not None:
        cells = repeat_cells(cells, LEAST_REPEATS if arguments.rigorous else arguments.repeats, "--repeats")
    cells = mark_unavailable(cells, cores=len(available_cores()), no_gpu=host["no_gpu"])
    if arguments.plan:
        print_plan(plan_cells(cells, host, arguments))
        return 0
    contents: list[dict[str, Any]] = []
    with hold_results(arguments.results):
        try:
            for content in fill_matrix(cells, host, arguments, console):
                contents.append(content)
        except BaseException:
            # What stopped the session is told, and not that tables cannot be written either.
            with contextlib.suppress(UserError):
                if contents:
                    write_report(arguments.results)
            raise
        report = write_report(arguments.results)
    print(render_markdown([Record(content=content) for content in contents]))
    print(f"written: {report}")
    allowed = {"ok"} if arguments.strict else {"ok", *ABSENT}
    return 0 if all(content["status"] in allowed for content in contents) else 1


def plan_cells(cells: Iterable[Cell], host: dict[str, Any], arguments: argparse.Namespace) -> list[Planned]:
    """Return the cells in the order of running, each with its record if it is done."""
    return plan_session(shuffle_cells(cells), host, read_records(arguments.results), fresh=arguments.fresh)


def fill_matrix(
    cells: Iterable[Cell], host: dict[str, Any], arguments: argparse.Namespace, console: Console
) -> Iterator[dict[str, Any]]:
    """Yield the record of every cell; a rigorous measurement goes on until no cell asks for one more repeat.

    The records of cells that are run once more, because the machine had drifted, come again at the end.
    """
    session = uuid.uuid4().hex[:12]
    measured: list[tuple[Cell, dict[str, Any]]] = []
    run: list[tuple[Planned, dict[str, Any]]] = []
    while cells:
        planned = plan_cells(cells, host, arguments)
        newest: dict[str, dict[str, Any]] = {}
        with SessionView(planned, console) as view:
            for content in run_session(planned, host, arguments.results, view, session):
                newest[content["key"]] = content
                yield content
        found = [(item, newest[item.key]) for item in planned if item.key in newest]
        measured += [(item.cell, content) for item, content in found]
        run += [(item, content) for item, content in found if item.done is None]
        cells = next_round(measured) if arguments.rigorous else []
    if drifted := drifted_cells(run):
        with SessionView(drifted, console) as view:
            for item in drifted:
                view.line(f"{item.cell.label}: the machine was off its usual speed before it; it is run once more")
            yield from run_session(drifted, host, arguments.results, view, session)


def run_audit(arguments: argparse.Namespace) -> int:
    """Prove what a matrix pairs and print each proof; exit code 1 if a tool does not train the spec's net.

    The loss curves are those of the matrix's own records, if it has been run; of a pair's curves the worst is told.
    """
    host = describe_host()
    cells = select(load_matrix(arguments.matrix), arguments.only)
    cells = mark_unavailable(cells, cores=len(available_cores()), no_gpu=host["no_gpu"])
    pairs: dict[Any, list[Cell]] = {}
    for cell in cells:
        if cell.not_run is None and cell.tool != FLOOR:
            pairs.setdefault((cell.tool, cell.device, proven_workload(cell.workload)), []).append(cell)
    if not pairs:
        reasons = dict.fromkeys(": ".join(cell.not_run) for cell in cells if cell.not_run)
        raise UserError(
            f"nothing of {arguments.matrix} can be proven here ({'; '.join(reasons) or 'no tool in it trains'}); "
            "accepted: a matrix with a tool and a device that are here. Change the matrix or --only."
        )
    curves = judge_curves(plan_session(cells, host, read_records(arguments.results), fresh=False))
    proofs = {pair[0]: pair for pair in pairs.values()}
    interpreters = prepare_environments(proofs, print)
    verdicts = prove_cells(proofs, interpreters, host, print)
    for cell, verdict in verdicts.items():
        label = f"{cell.tool} · {cell.device} · {cell.workload.label}"
        trained = [other for other in proofs[cell] if other.steps is None] or proofs[cell]
        worst = worst_judgement(curves[other] for other in trained if other in curves)
        print("\n".join(render_ladder(label, verdict, worst)))
    supported = [verdict for verdict in verdicts.values() if verdict["supported"]]
    proven = sum(verdict["level"] in PROVEN for verdict in supported)
    print(f"{proven} of {len(supported)} pairs of tool and model are proven to be the same net")
    return 0 if proven == len(supported) else 1


def run_compare(arguments: argparse.Namespace) -> int:
    """Print what changed from A to B; exit code 1 if something meets a condition of `--fail-on`."""
    conditions = read_conditions(arguments.fail_on)
    changes = compare(*(read_side(folder) for folder in (arguments.first, arguments.second)))
    if arguments.format == "json":
        print(render_json(changes))
    else:
        print(render_comparison(changes, str(arguments.first), str(arguments.second)))
    failures, doubts = find_failures(changes, conditions)
    for line in [*doubts, *(f"failed on {line}" for line in failures)]:
        print(line, file=sys.stderr)
    return 1 if failures else 0


def read_side(folder: Path) -> list[Record]:
    """Read the records of one side of a comparison. Raises UserError if there are none."""
    records = list(read_records(folder))
    if not records:
        raise UserError(
            f"{folder} holds no records; accepted: a results folder, or results/MACHINE. Name another, or fill it with "
            f"--results {folder}."
        )
    return records


def print_plan(planned: Sequence[Planned]) -> None:
    """Print every cell with what would become of it."""
    for item in planned:
        if item.done:
            fate = f"done: {item.done.status}"
        elif item.cell.not_run:
            fate = ": ".join(item.cell.not_run)
        else:
            fate = "to run"
        print(f"{item.cell.label} · {fate}")


def write_report(results: Path) -> Path:
    """Write the tables of all records in a results folder and return their path."""
    if not results.is_dir():
        raise UserError(f"results {results} is no folder; accepted: a folder of records. Name it with --results.")
    path = results / "README.md"
    # Records are trees: the collector of cycles would walk through all of them again and again and find nothing.
    gc.disable()
    try:
        tables = render_markdown(read_records(results))
    finally:
        gc.enable()
    write_whole(path, tables)
    return path


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run one command. What a user can mend is said in one message on standard error, with exit code 2."""
    chosen = parse_arguments(arguments)
    console = Console()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has the hangup ignored, and means it.
        if signal.getsignal(signal_number) != signal.SIG_IGN:
            signal.signal(signal_number, _interrupt)
    try:
        match chosen.command:
            case "report":
                print(f"written: {write_report(chosen.results)}")
                return 0
            case "audit":
                return run_audit(chosen)
            case "compare":
                return run_compare(chosen)
            case "replay":
                return replay(chosen.record, describe_host(), print)
            case "doctor":
                for line in (
                    report_self_cost(PAIRS if chosen.pairs is None else chosen.pairs) if chosen.self_cost else examine()
                ):
                    print(line)
                return 0
            case _:
                return run_matrix(chosen, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished cells are kept, and the next start goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
