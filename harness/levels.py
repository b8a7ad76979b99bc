"""How far a cell is proven to train the spec's net, its own loss curves among the proof."""

from collections.abc import Mapping, Sequence

from harness.audit import PROVEN, judge_curve, worst_judgement
from harness.frames import Row, loss_curves


def reached_level(row: Row, curves: Mapping[str, Sequence[float]]) -> tuple[str, list[str]]:
    """Return the level a row reached, S4 where the loss curve of each run is as it should be, and what to know of it.

    `curves` are the typical curves of the tools it is compared with. Steps have no loss curve that could reach S4.
    """
    level = str(row["level"])
    words = [row["verdict"]] if row["verdict"] else []
    if level not in PROVEN:
        return level or "not proven", words
    others = [curve for tool, curve in curves.items() if tool != row["tool"]]
    reached, why = worst_judgement(
        judge_curve(row["model"], row["batch_size"], losses, others) for losses in loss_curves(row)
    )
    if reached:
        return "S4", words
    return level, words + ([why] if reached is False else [])
