"""The only door: reads the command line and hands over to the harness."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from frameworks import FLOOR
from harness.audit import PROVEN, proven_workload, render_ladder
from harness.doctor import examine
from harness.host import available_cores, describe_host
from harness.places import PROJECT
from harness.plan import Cell, load_matrix, mark_unavailable, repeat_cells, select
from harness.records import ABSENT, Record, read_records, write_whole
from harness.session import Planned, judge_curves, plan_session, prepare_environments, prove_cells, run_session
from harness.tables import render_markdown
from harness.view import SessionView
from workloads.errors import UserError

OPTIONS_OF = {"report": ("results",), "audit": ("matrix", "only", "results"), "doctor": ()}
"""What each command takes of the options of a run."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse ends the program with code 2 for what it does not know."""
    parser = argparse.ArgumentParser(description="Train the very same net in every framework and compare.")
    parser.add_argument("--results", type=Path, default=PROJECT / "results", help="folder of records and tables")
    parser.add_argument("--matrix", type=Path, default=PROJECT / "matrix.yaml", help="what to run (%(default)s)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=VALUE,...", help="run a part, e.g. tool=torch,jax"
    )
    parser.add_argument("--repeats", type=int, help="run every cell so many times, instead of what the matrix says")
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
    commands.add_parser("doctor", help="say which tools, devices and data sets are here")
    chosen = parser.parse_args(arguments)
    if chosen.command:
        accepted = {"command", *OPTIONS_OF[chosen.command]}
        for name in vars(chosen).keys() - accepted:
            if getattr(chosen, name) != parser.get_default(name):
                parser.error(f"--{name} does not go with {chosen.command}")
    return chosen


def run_matrix(arguments: argparse.Namespace, console: Console) -> int:
    """Fill the matrix and print its tables; exit code 1 if a cell failed."""
    host = describe_host()
    cells = select(load_matrix(arguments.matrix), arguments.only)
    if arguments.repeats is not None:
        cells = repeat_cells(cells, arguments.repeats, "--repeats")
    cells = mark_unavailable(cells, cores=len(available_cores()), no_gpu=host["no_gpu"])
    planned = plan_session(cells, host, read_records(arguments.results), fresh=arguments.fresh)
    if arguments.plan:
        print_plan(planned)
        return 0
    contents: list[dict[str, Any]] = []
    try:
        with SessionView(planned, console) as view:
            for content in run_session(planned, host, arguments.results, view):
                contents.append(content)
    finally:
        if contents:
            report = write_report(arguments.results)
    print(render_markdown([Record(content=content) for content in contents]))
    print(f"written: {report}")
    allowed = {"ok"} if arguments.strict else {"ok", *ABSENT}
    return 0 if all(content["status"] in allowed for content in contents) else 1


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
        judged = [curves[other] for other in proofs[cell] if other in curves]
        worst = min(judged, key=lambda curve: (False, True, None).index(curve[0]), default=None)
        print("\n".join(render_ladder(label, verdict, worst)))
    supported = [verdict for verdict in verdicts.values() if verdict["supported"]]
    proven = sum(verdict["level"] in PROVEN for verdict in supported)
    print(f"{proven} of {len(supported)} pairs of tool and model are proven to be the same net")
    return 0 if proven == len(supported) else 1


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
    write_whole(path, render_markdown(read_records(results)))
    return path


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run one command. What a user can mend is said in one message on standard error, with exit code 2."""
    chosen = parse_arguments(arguments)
    console = Console()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, _interrupt)
    try:
        match chosen.command:
            case "report":
                print(f"written: {write_report(chosen.results)}")
                return 0
            case "audit":
                return run_audit(chosen)
            case "doctor":
                for line in examine():
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
