"""What a user may write behind `python runner.py`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from harness.places import PROJECT
from harness.rigour import LEAST_REPEATS, MOST_REPEATS
from harness.self_cost import PAIRS

MATRIX = PROJECT / "matrix.yaml"
"""What is run where no matrix is named."""
OPTIONS_OF = {
    "report": ("results", "matrix", "only", "pictures", "quiet"),
    "audit": ("matrix", "only", "results", "quiet"),
    "compare": ("first", "second", "fail_on", "format"),
    "replay": ("record",),
    "doctor": ("self_cost", "pairs"),
}
"""What each command takes of the options of a run."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse ends the program with code 2 for what it does not know."""
    parser = argparse.ArgumentParser(description="Train the very same net in every framework and compare.")
    parser.add_argument("--results", type=Path, default=PROJECT / "results", help="folder of records and tables")
    parser.add_argument("--matrix", type=Path, help=f"what to run ({MATRIX.name} of the project)")
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
    quiet = "print errors and what was written alone"
    parser.add_argument("--quiet", action="store_true", help=quiet)
    commands = parser.add_subparsers(dest="command", metavar="")
    report = commands.add_parser("report", help="write tables, page and cells again, from the records")
    report.add_argument("--results", type=Path, default=argparse.SUPPRESS, help="folder of records and tables")
    report.add_argument("--matrix", type=Path, default=argparse.SUPPRESS, help="print the tables of this matrix alone")
    report.add_argument("--only", action="append", default=argparse.SUPPRESS, metavar="AXIS=VALUE,...", help="a part")
    report.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the charts too, as SVG files")
    report.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help=quiet)
    audit = commands.add_parser("audit", help="prove that every tool trains the spec's net, and print the proof")
    audit.add_argument("--matrix", type=Path, default=argparse.SUPPRESS, help="whose tools and models")
    audit.add_argument("--only", action="append", default=argparse.SUPPRESS, metavar="AXIS=VALUE,...", help="a part")
    audit.add_argument("--results", type=Path, default=argparse.SUPPRESS, help="whose loss curves are judged")
    audit.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help="print the last line alone")
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
        if chosen.command == "report" and chosen.only and chosen.matrix is None:
            parser.error("--only goes with --matrix")
    if chosen.command != "report" and chosen.matrix is None:
        chosen.matrix = MATRIX
    return chosen
