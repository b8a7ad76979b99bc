"""How many steps a worker takes within its time, on a clock that the test turns."""

import pytest

from frameworks.worker import time_box


@pytest.mark.parametrize(
    ("step_s", "warmup", "timed", "taken"),
    [
        (1.0, 2, 3, [True, True, False, False, False]),
        (1.0, 0, 2, [False, False]),
        (4.0, 9, 9, [True, True, False, False, False]),
        (5.0, 9, 9, [True, False, False]),
        (60.0, 9, 9, [True, False]),
    ],
)
def test_steps_are_taken_until_their_time_is_up(
    step_s: float, warmup: int, timed: int, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds: five for the warm-up, and ten for what is timed; one of each at least."""
    now = [100.0]
    monkeypatch.setattr("frameworks.worker.time.monotonic", lambda: now[0])
    kinds = []
    for kind in time_box(warmup=warmup, timed=timed, at_most_s=10):
        kinds.append(kind)
        now[0] += step_s
    assert kinds == taken
