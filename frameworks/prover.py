"""The child process that proves: one workload a line in, one proof a line out, until its input ends.

Started as `python -m frameworks.prover PROOFS_FD` in the tool's environment. The first line on standard input names the
tool, the device and the cores, each further one a workload and a precision; all lines are JSON.
"""

import json
import math
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from typing import Any

from frameworks import TOOLS
from frameworks.base import Adapter, DeviceUnavailableError
from frameworks.proof import Finding, level_reached, prove
from frameworks.worker import load_adapter
from workloads.spec import from_json


def describe(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values; a difference that is no number, or without bound, is None."""
    worst = float(finding.worst)
    return {**asdict(finding), "worst": worst if math.isfinite(worst) else None, "holds": finding.holds}


def answer(adapter: Adapter, line: str) -> dict[str, Any]:
    """Prove the workload on one line in the precision that it names."""
    asked = json.loads(line)
    workload, precision = from_json(asked["workload"]), asked["precision"]
    if reason := adapter.supports(workload, precision):
        return {"level": None, "reason": reason, "supported": False, "findings": []}
    findings = prove(adapter, workload, precision)
    described = [describe(finding) for finding in findings]
    return {"level": level_reached(findings), "reason": None, "supported": True, "findings": described}


def pass_on(lines: queue.SimpleQueue[str]) -> None:
    """Hand over the lines of standard input; where it ends, the parent is gone or done, and so is this group."""
    for line in sys.stdin:
        lines.put(line)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Answer line by line until the group is ended; a device that is not there is the answer to every workload."""
    proofs_fd = int(sys.argv[1])
    os.set_inheritable(proofs_fd, False)
    with os.fdopen(proofs_fd, "w", encoding="utf-8") as proofs:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=pass_on, args=(lines,), daemon=True).start()
        job = json.loads(lines.get())
        reason, adapter = None, None
        try:
            adapter = load_adapter(job["tool"])(device=job["device"], cores=job["cores"], **TOOLS[job["tool"]].options)
        except DeviceUnavailableError as error:
            reason = str(error)
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        while True:
            line = lines.get()
            none = {"level": None, "reason": reason, "supported": True, "findings": []}
            proofs.write(json.dumps(answer(adapter, line) if adapter else none) + "\n")
            proofs.flush()


if __name__ == "__main__":
    main()
