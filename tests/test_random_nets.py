"""Random nets, the oracle against every adapter; a net that fails is shrunk and printed as a spec to replay."""

import json

import pytest
from hypothesis import HealthCheck, given, reject, seed, settings

from frameworks import FLOOR, TOOLS
from harness.audit import Prover, render_ladder
from harness.environments import ensure_environment, python_of, requirements_of
from harness.host import available_cores
from tests.random_nets import random_workloads
from workloads.spec import Workload, to_json

pytestmark = pytest.mark.conformance
NETS_A_PROCESS = 100
"""After some 350 nets XLA has as much compiled code mapped as the kernel lets a process have."""


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != FLOOR])
def test_random_nets_are_the_same(tool: str, random_nets: tuple[int, int]) -> None:
    """Many nets of a tool go through one process; another is started after a hundred, or after one that died."""
    count, first = random_nets
    requirements = requirements_of(tool, "cpu")
    assert requirements is not None
    python = str(ensure_environment(requirements, python_of(tool), print))
    with Provers(tool, python) as provers:

        @seed(first)
        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(random_workloads())
        def check(workload: Workload) -> None:
            verdict = provers.prove(workload)
            if not verdict["supported"]:
                reject()
            replay = json.dumps(to_json(workload))
            assert verdict["level"] == "S3", "\n".join([*render_ladder(tool, verdict, None), replay])

        check()


class Provers:
    """A prover that is started anew when it died or has proven enough."""

    def __init__(self, tool: str, python: str) -> None:
        self._make = lambda: Prover(tool, "cpu", len(available_cores()), python)

    def __enter__(self) -> "Provers":
        self._start()
        return self

    def _start(self) -> None:
        self._prover, self._proven = self._make().__enter__(), 0

    def prove(self, workload: Workload) -> dict:
        """Return the verdict on one workload."""
        verdict = self._prover.prove(workload, "float32")
        self._proven += 1
        if self._proven == NETS_A_PROCESS or (verdict["reason"] and verdict["supported"]):
            self.__exit__()
            self._start()
        return verdict

    def __exit__(self, *error: object) -> None:
        self._prover.__exit__(None, None, None)
