"""How a worker ended: from exit code, events, log and the kernel's counter to a status and a reason."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from frameworks.memory import tells_of_memory

FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals by which somebody else ends a worker; a fault of its own sends others."""
VMSTAT = Path("/proc/vmstat")
LOG_LINES = 20
LINE_CHARS = 500
LOG_BYTES = 4 * LOG_LINES * LINE_CHARS
"""How much of a log's end is looked at: a tool may print without end, or without a line's end."""
REASON_CHARS = 2000

Event = dict[str, Any]


def kernel_kills() -> int | None:
    """Return how many processes Linux has killed for want of memory since its start, or None where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in VMSTAT.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


def last_lines(log: IO[bytes]) -> list[str]:
    """Return the last LOG_LINES lines of a log that are not empty, each cut to LINE_CHARS characters."""
    end = log.seek(0, os.SEEK_END)
    log.seek(max(end - LOG_BYTES, 0))
    lines = log.read().decode(encoding="utf-8", errors="replace").splitlines()
    return [line[:LINE_CHARS] for line in lines if line.strip()][-LOG_LINES:]


def judge(
    exit_code: int | None,
    events: Sequence[Event],
    bad_line: str | None,
    limit_s: float | None,
    log: Sequence[str],
    *,
    starved: bool | None,
) -> tuple[str, str | None]:
    """Return status and reason, which is None for `ok` alone.

    `limit_s` is the time limit if it ended the worker; `starved` says whether the kernel killed for want of memory
    meanwhile, None where it does not tell. `log` is what was printed last.
    """
    by_name = {event["event"]: event for event in events}
    if bad_line is None and "failure" in by_name:
        return by_name["failure"]["status"], by_name["failure"]["reason"][:REASON_CHARS]
    if bad_line is None and "result" in by_name:
        return "ok", None
    if bad_line is not None:
        status, reason = "failed", f"the worker sent {bad_line.strip()[:200]!r} where an event of JSON was expected"
    elif limit_s is not None:
        status, reason = "timeout", f"not done within the time limit of {limit_s:g} s, {_progress(by_name, events)}"
    else:
        assert exit_code is not None
        status, reason = _judge_exit(exit_code, log, starved=starved)
    return status, f"{reason}; last log line: {log[-1]}" if log else reason


def _judge_exit(exit_code: int, log: Sequence[str], *, starved: bool | None) -> tuple[str, str]:
    """Return status and reason of a worker that ended before its result.

    Memory that runs out in a thread of a framework's own ends the process, and only the log tells why.
    """
    how = f"ended by {_name_signal(-exit_code)}" if exit_code < 0 else f"ended with exit code {exit_code} and no result"
    if exit_code == -signal.SIGKILL:
        if starved:
            return "out-of-memory", "the kernel ended it because the host's memory ran out"
        told = "not by the kernel for want of memory"
        return "crashed", f"{how}, {told}" if starved is False else f"{how}; whether {told}, this system does not tell"
    telling = [line for line in log if tells_of_memory(line)]
    if telling and -exit_code not in FROM_OUTSIDE:
        return "out-of-memory", f"{how} after it printed {telling[-1].strip()!r}"
    return "crashed" if exit_code < 0 else "failed", how


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _progress(by_name: Mapping[str, Event], events: Sequence[Event]) -> str:
    """Say how many epochs or steps a worker has done, and after which stage it was."""
    done = Counter(event["event"] for event in events)
    count = f"{done['step']} steps" if done["step"] else f"{done['epoch']} epochs"
    return f"{count} after {by_name.get('stage', {}).get('stage', 'start')}"
