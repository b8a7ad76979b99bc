"""The only door: reads the command line and hands over to the harness."""

import argparse
import contextlib
import os
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
from harness.command_line import parse_arguments
from harness.compare import compare, find_failures, read_conditions, render_comparison, render_json
from harness.doctor import examine
from harness.host import available_cores, describe_host
from harness.matching import records_of
from harness.plan import Cell, load_matrix, mark_unavailable, repeat_cells, select, shuffle_cells
from harness.printable import printable
from harness.records import ABSENT, Planned, Record, hold_results, read_records
from harness.replay import replay
from harness.reporting import write_report
from harness.rigour import LEAST_REPEATS, next_round
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
from harness.view import open_view
from workloads.errors import UserError


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
        written = write_report(arguments.results)
    if not arguments.quiet:
        print(render_markdown([Record(content=content) for content in contents]))
    print_written(written)
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
    with open_view(console) as view:
        while cells:
            planned = plan_cells(cells, host, arguments)
            view.add(planned)
            newest: dict[str, dict[str, Any]] = {}
            for content in run_session(planned, host, arguments.results, view, session):
                newest[content["key"]] = content
                yield content
            found = [(item, newest[item.key]) for item in planned if item.key in newest]
            measured += [(item.cell, content) for item, content in found]
            run += [(item, content) for item, content in found if item.done is None]
            cells = next_round(measured) if arguments.rigorous else []
        drifted = drifted_cells(run)
        view.add(drifted)
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
            pair = cell.tool, cell.device, proven_workload(cell.workload), cell.precision
            pairs.setdefault(pair, []).append(cell)
    if not pairs:
        reasons = dict.fromkeys(": ".join(cell.not_run) for cell in cells if cell.not_run)
        raise UserError(
            f"nothing of {arguments.matrix} can be proven here ({'; '.join(reasons) or 'no tool in it trains'}); "
            "accepted: a matrix with a tool and a device that are here. Change the matrix or --only."
        )
    curves = judge_curves(plan_session(cells, host, read_records(arguments.results), fresh=False))
    proofs = {pair[0]: pair for pair in pairs.values()}
    show = (lambda text: None) if arguments.quiet else print_safely
    interpreters = prepare_environments(proofs, show)
    verdicts = prove_cells(proofs, interpreters, host, show)
    for cell, verdict in verdicts.items():
        label = f"{cell.tool} · {cell.device} · {cell.workload.label} · {cell.precision}"
        trained = [other for other in proofs[cell] if other.steps is None] or proofs[cell]
        worst = worst_judgement(curves[other] for other in trained if other in curves)
        for line in render_ladder(label, verdict, worst):
            show(line)
    supported = [verdict for verdict in verdicts.values() if verdict["supported"]]
    proven = sum(verdict["level"] in PROVEN for verdict in supported)
    print(f"{proven} of {len(supported)} proofs hold: the net is the same")
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


def report(arguments: argparse.Namespace) -> None:
    """Write the report of a results folder, or print the tables of one matrix's cells; draw pictures if asked to."""
    if arguments.matrix is None:
        print_written(write_report(arguments.results))
    elif not arguments.quiet:
        print(render_markdown(records_to_report(arguments)))
    if arguments.pictures is not None:
        # Loads a JavaScript engine, which no other command needs.
        from harness.pictures import write_pictures

        print_written(write_pictures(records_to_report(arguments), arguments.pictures))


def records_to_report(arguments: argparse.Namespace) -> Iterable[Record]:
    """Return the records of a results folder, or those of a matrix, of which there must be one. Raises UserError."""
    records = read_records(arguments.results)
    if arguments.matrix is None:
        return records
    found = list(records_of(select(load_matrix(arguments.matrix), arguments.only), records))
    if not found:
        raise UserError(
            f"{arguments.results} holds no record of {arguments.matrix}; accepted: a matrix that has been run. Run it "
            f"first (`python runner.py --matrix {arguments.matrix}`), or name other --results."
        )
    return found


def print_safely(line: str) -> None:
    """Print a line in which words of others may stand."""
    print(printable(line))


def print_written(paths: Iterable[Path]) -> None:
    """Name each file that was written."""
    for path in paths:
        print_safely(f"written: {path}")


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_command(arguments: Sequence[str]) -> int:
    """Run one command. What a user can mend is said in one message on standard error, with exit code 2."""
    chosen = parse_arguments(arguments)
    console = Console(quiet=chosen.quiet, force_interactive=None if sys.stdout.isatty() else False)
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has the hangup ignored, and means it.
        if signal.getsignal(signal_number) != signal.SIG_IGN:
            signal.signal(signal_number, _interrupt)
    try:
        match chosen.command:
            case "report":
                report(chosen)
                return 0
            case "audit":
                return run_audit(chosen)
            case "compare":
                return run_compare(chosen)
            case "replay":
                return replay(chosen.record, describe_host(), print_safely)
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


def main(arguments: Sequence[str]) -> int:
    """Run one command; where nobody reads any more what it prints, end it without a word and with exit code 1."""
    try:
        code = run_command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes once more at exit: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
