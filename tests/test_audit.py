"""Proofs are kept by content, made once, and shown step by step; what goes wrong in one is said."""

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import audit
from harness.audit import (
    Prover,
    audit_cells,
    curve_distance,
    describe_verdict,
    judge_curve,
    no_verdict,
    outside_published,
    proven_workload,
    read_verdict,
    render_ladder,
    verdict_key,
    verdict_path,
    worst_judgement,
)
from tests.helpers import HOST, make_cell, write_interpreter
from workloads import WORKLOADS, make_workload
from workloads.spec import SGD

PACKAGES = {"torch": "2.13.0"}
FINDING = {
    "level": "S2", "what": "outputs", "worst": 0.5, "where": "conv2d_1", "tolerance": 1e-5, "precision": "float32",
    "note": None, "holds": False, "fault": False,
}  # fmt: skip


def test_a_verdict_belongs_to_spec_adapter_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = make_workload("mnist-cnn", {})
    same = verdict_key("torch", "cpu", workload, "float32", PACKAGES, HOST)
    assert verdict_key("torch", "cpu", make_workload("mnist-cnn", {"epochs": 3}), "float32", PACKAGES, HOST) == same
    faster = SGD(learning_rate=0.1, momentum=0.9, decay=1e-5, nesterov=False)
    others = [
        verdict_key("torch-compile", "cpu", workload, "float32", PACKAGES, HOST),
        verdict_key("jax", "cpu", workload, "float32", PACKAGES, HOST),
        verdict_key("torch", "cpu", workload, "bfloat16", PACKAGES, HOST),
        verdict_key("torch", "gpu", workload, "float32", PACKAGES, HOST),
        verdict_key("torch", "cpu", replace(workload, optimizer=faster), "float32", PACKAGES, HOST),
        verdict_key("torch", "cpu", workload, "float32", {"torch": "2.13.1"}, HOST),
        verdict_key("torch", "cpu", workload, "float32", PACKAGES, {"cpu": "Testium 9001"}),
    ]
    monkeypatch.setattr(audit, "ORACLE", audit.ORACLE[:-1])
    others.append(verdict_key("torch", "cpu", workload, "float32", PACKAGES, HOST))
    assert len({same, *others}) == 9


def test_a_proof_is_made_once_and_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def prove(self: Prover, workload: Any, precision: str) -> dict[str, Any]:
        asked.append(workload.name)
        return {"level": "S1", "reason": None, "supported": True, "findings": [FINDING]}

    monkeypatch.setattr(Prover, "__enter__", lambda self: self)
    monkeypatch.setattr(Prover, "__exit__", lambda self, *error: None)
    monkeypatch.setattr(Prover, "prove", prove)
    cells = [make_cell("jax"), make_cell("jax", repeat=1), make_cell("jax", workload=make_workload("digits-mlp", {}))]
    lines: list[str] = []
    python = write_interpreter(home, "")
    monkeypatch.setattr(audit, "installed_packages", lambda python: PACKAGES)
    verdicts = audit_cells(cells, lambda cell: python, HOST, lines.append)
    assert asked == ["digits-cnn", "digits-mlp"]
    assert [verdicts[cell]["level"] for cell in cells] == ["S1", "S1", "S1"]
    assert lines == ["proving jax · cpu · digits-cnn epochs=2 · float32", "proving jax · cpu · digits-mlp · float32"]
    audit_cells(cells, lambda cell: python, HOST, lines.append)
    assert len(asked) == 2
    hardware = {name: HOST[name] for name in ("cpu", "gpus")}
    path = verdict_path(verdict_key("jax", "cpu", cells[0].workload, "float32", PACKAGES, hardware))
    path.write_text("{")
    assert read_verdict(path.stem) is None
    audit_cells(cells, lambda cell: python, HOST, lines.append)
    assert len(asked) == 3


def test_a_proof_that_came_upon_an_exception_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def prove(self: Prover, workload: Any, precision: str) -> dict[str, Any]:
        asked.append(workload.name)
        return {"level": "S1", "reason": None, "supported": True, "findings": [{**FINDING, "fault": True}]}

    monkeypatch.setattr(Prover, "__enter__", lambda self: self)
    monkeypatch.setattr(Prover, "__exit__", lambda self, *error: None)
    monkeypatch.setattr(Prover, "prove", prove)
    monkeypatch.setattr(audit, "installed_packages", lambda python: PACKAGES)
    for _ in range(2):
        audit_cells([make_cell("jax")], lambda cell: "python", HOST, lambda line: None)
    assert len(asked) == 2


def test_an_interpreter_that_cannot_be_asked_gives_no_level(home: Path) -> None:
    cell = make_cell("jax")
    for python, words in ((str(home / "nowhere"), "cannot be asked"), (write_interpreter(home, ""), "cannot be asked")):
        verdict = audit_cells([cell], lambda cell, python=python: python, HOST, print)[cell]
        assert verdict["level"] is None
        assert words in verdict["reason"]
    broken = audit_cells([cell], lambda cell: RuntimeError("no such package"), HOST, print)[cell]
    assert broken["reason"] == "its environment could not be made: no such package"


def test_a_proof_that_has_no_place_gives_no_level(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(audit, "installed_packages", lambda python: {})
    monkeypatch.setattr(audit, "make_scratch", refuse)
    cells = [make_cell("jax"), make_cell("jax", workload=make_workload("digits-mlp", {}))]
    verdicts = audit_cells(cells, lambda cell: sys.executable, HOST, lambda line: None)
    reason = "the proof's process cannot be started: No space left on device"
    assert verdicts == dict.fromkeys(cells, no_verdict(reason))


def test_the_floor_is_not_proven(home: Path) -> None:
    cell = make_cell("null")
    assert audit_cells([cell], lambda cell: "python", HOST, print)[cell] == no_verdict("it trains nothing")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('dreadful'); os.kill(os.getpid(), signal.SIGSEGV)", "ended before its answer"),
        ("sys.exit('no module named jax')", "no module named jax"),
        ("os.write(fd, b'half a line'); os._exit(0)", "ended before its answer"),
    ],
)
def test_a_proof_that_dies_says_so(tmp_path: Path, body: str, words: str) -> None:
    with Prover("jax", "cpu", 1, write_interpreter(tmp_path, body)) as prover:
        verdict = prover.prove(make_workload("digits-cnn", {}), "float32")
    assert verdict["level"] is None
    assert words in verdict["reason"]


def test_a_proof_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "TIME_LIMIT_S", 0.2)
    with Prover("jax", "cpu", 1, write_interpreter(tmp_path, "time.sleep(1000)")) as prover:
        assert "not done within 0.2 s" in prover.prove(make_workload("digits-cnn", {}), "float32")["reason"]


def test_a_real_child_answers_line_by_line(home: Path) -> None:
    """The null tool goes through the same child; it has all shapes and learns nothing."""
    with Prover("null", "cpu", 1, sys.executable) as prover:
        verdicts = [prover.prove(make_workload(name, {}), "float32") for name in ("digits-cnn", "digits-mlp")]
    assert [verdict["level"] for verdict in verdicts] == ["S1", "S1"]
    failed = {finding["what"] for finding in verdicts[0]["findings"] if not finding["holds"]}
    assert {"outputs", "logits", "loss", "gradients", "weights after updates", "dropout 0.2, scale"} & failed
    json.dumps(verdicts, allow_nan=False)


def test_a_verdict_in_words() -> None:
    passed = {**FINDING, "holds": True, "note": "its moving variance is biased"}
    assert describe_verdict(no_verdict("it hangs")) == "it hangs"
    failed = {"level": "S1", "reason": None, "supported": True, "findings": [passed, FINDING]}
    assert describe_verdict(failed) == "S2 outputs (float32): off by 0.5 at conv2d_1"
    assert describe_verdict({**failed, "findings": [passed]}) == "its moving variance is biased"
    ladder = render_ladder("jax · cpu · digits-cnn", failed, None)
    assert ladder[0] == "jax · cpu · digits-cnn: S1"
    assert ladder[1].endswith("worst 0.5 at conv2d_1, allowed 1e-05; its moving variance is biased")
    assert ladder[2].startswith("  BAD S2 float32 outputs")
    assert render_ladder("x", no_verdict("it hangs"), None) == ["x: not proven (it hangs)"]


def test_the_ladder_ends_with_the_loss_curve() -> None:
    proven = {**no_verdict(""), "level": "S3"}
    assert render_ladder("x", proven, (True, "")) == ["x: S4", "  ok  S4 loss curve"]
    assert render_ladder("x", proven, (False, "far off")) == ["x: S3", "  BAD S4 loss curve: far off"]
    untrained = worst_judgement([])
    assert render_ladder("x", proven, untrained) == [
        "x: S3",
        "  --  S4 loss curve: there is no record of its training yet",
    ]
    assert render_ladder("x", {**proven, "level": "S2"}, (True, "")) == ["x: S2"]


def test_of_the_curves_of_several_runs_the_worst_counts() -> None:
    good, unknown, bad = (True, ""), (None, "nothing is published"), (False, "far off")
    assert worst_judgement([good, bad, unknown]) == bad
    assert worst_judgement([good, unknown, good]) == unknown
    assert worst_judgement([good, good]) == good


def test_a_curve_is_judged_by_what_is_published_or_by_the_others() -> None:
    others = [[1.0, 0.5], [1.2, 0.4], [0.8, 0.6]]
    assert judge_curve("mnist-cnn", 128, [0.3], others) == (True, "")
    assert judge_curve("mnist-cnn", 128, [0.4], others)[0] is False
    assert judge_curve("digits-cnn", 32, [1.1, 0.5], others) == (True, "")
    assert judge_curve("digits-cnn", 32, [2.0, 1.0], others) == (
        False,
        "its losses are 100% from the other tools' median",
    )
    assert judge_curve("digits-cnn", 32, [1.0, 0.5], others[:1])[0] is None


def test_a_proof_is_not_about_how_much_is_trained() -> None:
    one, other = (make_workload("digits-cnn", {"epochs": epochs}) for epochs in (1, 20))
    assert proven_workload(one) == proven_workload(other)
    assert proven_workload(one) != proven_workload(make_workload("digits-cnn", {"dropout": 0.5}))
    noisy = make_workload("resnet50", {})
    learnable = replace(noisy, data=replace(noisy.data, noise=None))
    assert proven_workload(noisy) == proven_workload(learnable)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_proof_of_every_workload_is_about_its_net(name: str) -> None:
    workload = make_workload(name, {})
    proven = proven_workload(workload)
    assert (proven.network, proven.optimizer, proven.loss) == (workload.network, workload.optimizer, workload.loss)
    assert proven_workload(proven) == proven


def test_losses_outside_the_published_band_are_named() -> None:
    curve = [0.3, *[0.05] * 8, 0.03]
    assert outside_published("mnist-cnn", 128, curve) == ""
    assert outside_published("mnist-cnn", 128, [0.3]) == ""
    assert outside_published("mnist-cnn", 64, curve) is None
    with_target = make_workload("mnist-cnn", {"target_error_rate": 0.01}).label
    assert outside_published(with_target, 128, curve) == ""
    assert outside_published(with_target, 128, [0.5]) != ""
    assert outside_published("mnist-cnn epochs=20", 128, curve) is None
    wrong = outside_published("mnist-cnn", 128, [0.3816, *curve[1:]])
    assert wrong == "its loss of epoch 1 is 0.3816, published were 0.26 to 0.35"


def test_the_distance_of_curves() -> None:
    others = [[1.0, 0.5], [1.2, 0.4], [0.8, 0.6]]
    assert curve_distance([1.0, 0.5], others) == pytest.approx(0.0)
    assert curve_distance([2.0, 1.0], others) == pytest.approx(1.0)
    assert curve_distance([2.0, 1.0], [[0.0, 0.0]] * len(others)) is None
    assert curve_distance([1.5, 0.0], others) == pytest.approx(1.0 / 1.5)
    assert curve_distance([1.0, 0.5], others[:1]) is None
    assert curve_distance([1.0], others) is None
