"""Every rule of the matrix file, and every message about one that is broken."""

from dataclasses import replace
from pathlib import Path

import pytest

import workloads
from frameworks import TOOLS
from harness.plan import GPU_PRECISIONS, Steps, load_matrix, mark_unavailable, repeat_cells, select, shuffle_cells
from tests.helpers import noisy
from workloads import WORKLOADS, make_workload
from workloads.errors import UserError
from workloads.spec import Workload

PROJECT = Path(__file__).parent.parent
STEPS = "measure: steps\n"
BASE = "tools: [torch, 'null']\ndevices: [cpu, gpu]\nmodels: [digits-cnn]\n"


def load(tmp_path: Path, text: str):
    path = tmp_path / "matrix.yaml"
    path.write_text(text)
    return load_matrix(path)


def names(cells) -> list[str]:
    return [cell.label for cell in cells]


def test_a_matrix_spans_models_devices_and_tools_in_rounds(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE + "repeats: 2\nseed: 3\ntime_limit_s: 9\n")
    first_round = [
        "torch · cpu · digits-cnn · batch 32",
        "null · cpu · digits-cnn · batch 32",
        "torch · gpu · digits-cnn · batch 32",
        "null · gpu · digits-cnn · batch 32",
    ]
    assert names(cells) == first_round + [f"{name} · repeat 2" for name in first_round]
    assert {(cell.seed, cell.time_limit_s, cell.precision) for cell in cells} == {(3, 9, "float32")}


def test_a_list_of_parameters_or_batch_sizes_spans_an_axis(tmp_path: Path) -> None:
    text = "tools: ['null']\ndevices: [cpu]\nmodels:\n  - {model: mnist-mlp, units: [4, 8], epochs: 1}\n"
    cells = load(tmp_path, text + "batch_sizes: [16, 32]\n")
    assert [(cell.workload.label, cell.workload.batch_size) for cell in cells] == [
        ("mnist-mlp units=4 epochs=1", 16),
        ("mnist-mlp units=4 epochs=1", 32),
        ("mnist-mlp units=8 epochs=1", 16),
        ("mnist-mlp units=8 epochs=1", 32),
    ]


def test_cores_are_an_axis_of_the_devices(tmp_path: Path) -> None:
    cells = load(tmp_path, "tools: ['null']\ndevices: [cpu, {device: cpu, cores: 1}]\nmodels: [digits-cnn]\n")
    assert [cell.cores for cell in cells] == [None, 1]
    assert cells[1].label == "null · cpu with 1 of its cores · digits-cnn · batch 32"


def test_excluded_cells_stay_with_their_reason(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE + "exclude:\n  - {tool: torch, device: gpu, because: too hot}\n")
    assert [cell.not_run for cell in cells] == [None, None, ("skipped", "too hot"), None]


def test_included_cells_are_added(tmp_path: Path) -> None:
    more = "include:\n  - {tool: jax, device: cpu, cores: 1, model: mnist-mlp, units: 8, batch_size: 64}\n"
    cell = load(tmp_path, BASE + more)[-1]
    assert cell.label == "jax · cpu with 1 of its cores · mnist-mlp units=8 · batch 64"


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_a_precision_of_gpus_is_unsupported_on_a_cpu(precision: str, tmp_path: Path) -> None:
    text = f"tools: [torch]\ndevices: [cpu, gpu]\nmodels: [digits-cnn]\nprecisions: [bfloat16, {precision}]\n"
    not_run = {(cell.device, cell.precision): cell.not_run for cell in load(tmp_path, text)}
    assert not_run[("cpu", precision)] == ("unsupported", GPU_PRECISIONS[precision])
    assert [reason for place, reason in not_run.items() if place != ("cpu", precision)] == [None] * 3


def test_a_device_that_a_tool_never_has_is_unsupported(tmp_path: Path) -> None:
    (cell,) = load(tmp_path, "tools: [mxnet]\ndevices: [gpu]\nmodels: [digits-cnn]\n")
    assert cell.not_run == ("unsupported", TOOLS["mxnet"].unsupported["gpu"])


def test_steps_are_measured_as_the_matrix_and_each_device_say(tmp_path: Path) -> None:
    text = BASE.replace("[cpu, gpu]", "[gpu, {device: cpu, steps: {timed: 3}}]").replace("torch, ", "")
    cells = load(tmp_path, text + STEPS + "steps: {of: [forward, train], warmup: 0, at_most_s: 9}\n")
    assert [(cell.device, cell.measure, cell.steps) for cell in cells] == [
        ("gpu", "forward", Steps(warmup=0, timed=100, at_most_s=9)),
        ("gpu", "train", Steps(warmup=0, timed=100, at_most_s=9)),
        ("cpu", "forward", Steps(warmup=0, timed=3, at_most_s=9)),
        ("cpu", "train", Steps(warmup=0, timed=3, at_most_s=9)),
    ]
    assert cells[0].label == "null · gpu · digits-cnn · batch 32 · forward steps"
    assert names(select(cells, ["measure=train"])) == [cells[1].label, cells[3].label]


def test_steps_are_training_steps_unless_said(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE + STEPS + "exclude: [{measure: train, device: gpu, because: slow}]\n")
    assert {(cell.measure, cell.steps) for cell in cells} == {("train", Steps(warmup=10, timed=100, at_most_s=300))}
    assert [cell.not_run for cell in cells] == [None, None, ("skipped", "slow"), ("skipped", "slow")]


def test_included_cells_may_measure_something_else(tmp_path: Path) -> None:
    one = "{tool: jax, device: cpu, model: digits-cnn, measure: %s}"
    cells = load(tmp_path, BASE + f"include: [{one % 'epochs'}, {one % 'forward'}]\n")[-2:]
    assert [(cell.measure, cell.steps) for cell in cells] == [("epochs", None), ("forward", Steps())]
    both = BASE + STEPS + "steps: {of: [forward, train]}\ninclude: [{tool: jax, device: cpu, model: digits-cnn}]\n"
    assert [cell.measure for cell in load(tmp_path, both)[-2:]] == ["forward", "train"]


@pytest.mark.parametrize(
    ("change", "text", "message"),
    [
        ({"noise": True}, BASE, r"torch · cpu · odd .* the data of odd is noise; accepted: `measure: steps`"),
        ({"optimizer": None}, BASE, r"odd has no optimiser; accepted: `measure: steps` with .*\[forward, gradients\]"),
        ({"optimizer": None}, BASE + STEPS, r"train steps cannot be measured: odd has no optimiser"),
        ({}, BASE + STEPS + "batch_sizes: [9999]", r"a step takes 9999 samples and there are 1437; accepted: a batch"),
    ],
)
def test_a_workload_that_cannot_be_measured_so_is_refused(
    change: dict, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = make_workload("digits-cnn", {})

    def odd() -> Workload:
        data = noisy(workload.data) if "noise" in change else workload.data
        return replace(workload, name="odd", data=data, optimizer=change.get("optimizer", workload.optimizer))

    monkeypatch.setattr(workloads, "WORKLOADS", {"odd": odd})
    with pytest.raises(UserError, match=message):
        load(tmp_path, text.replace("digits-cnn", "odd"))
    excluded = "exclude: [{tool: [torch, 'null'], because: it cannot be}]\n"
    load(tmp_path, text.replace("digits-cnn", "odd") + "\n" + excluded)


def test_environments_are_for_all_tools_or_by_tool(tmp_path: Path) -> None:
    assert {cell.environment for cell in load(tmp_path, BASE + "environments: current\n")} == {"current"}
    by_tool = load(tmp_path, BASE + "environments: {torch: current}\n")
    assert [cell.environment for cell in by_tool[:2]] == ["current", "managed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", r"matrix .*matrix\.yaml is not YAML"),
        ("- torch", r"holds \['torch'\]; accepted: keys tools, devices"),
        (BASE + "tool: [torch]", r"unknown key 'tool' at .*matrix\.yaml; accepted: batch_sizes, devices, environments"),
        (BASE.replace("torch", "pytorch"), r"unknown tool 'pytorch' at tools\[0\]; accepted: jax, keras-jax"),
        (BASE.replace("gpu", "tpu"), r"unknown device 'tpu' at devices\[1\]; accepted: cpu, gpu"),
        (BASE.replace("gpu", "{device: cpu, core: 1}"), r"unknown key 'core' at devices\[1\]; accepted: cores, device"),
        (BASE.replace("gpu", "{device: cpu, cores: 0}"), r"devices\[1\]\.cores is 0; accepted: a whole number"),
        (BASE.replace("digits-cnn", "lenet"), r"unknown model 'lenet' at models\[0\]; accepted: alexnet"),
        (BASE.replace("digits-cnn", "3"), r"models\[0\] is 3; accepted: a model's name"),
        (
            BASE.replace("digits-cnn", "{model: digits-cnn, unit: 3}"),
            r"unknown parameter of digits-cnn 'unit' at models\[0\]; accepted: data, dropout, epochs, target_",
        ),
        (
            BASE.replace("digits-cnn", "{model: digits-cnn, target_error_rate: 5}"),
            r"target_error_rate at models\[0\] is 5; accepted: a rate, for example 0\.05",
        ),
        (
            BASE.replace("digits-cnn", "{model: digits-cnn, target_error_rate: 1.5}"),
            r"target_error_rate 1\.5; accepted: more than 0, less than 1",
        ),
        (
            STEPS + BASE.replace("digits-cnn", "{model: digits-cnn, target_error_rate: 0.5}"),
            "target_error_rate is given and steps are measured; accepted: it with epochs",
        ),
        (
            BASE.replace("cpu,", "{device: cpu, price_per_hour: cheap},"),
            r"devices\[0\]\.price_per_hour is 'cheap'; accepted: the price of an hour",
        ),
        (
            BASE.replace("digits-cnn", "{model: digits-cnn, epochs: '3'}"),
            r"parameter epochs of digits-cnn at models\[0\] is '3'; accepted: a value of type int",
        ),
        (BASE.replace("digits-cnn", "{model: digits-cnn, dropout: 1}"), r"dropout rate 1\.0; accepted: 0 <= rate < 1"),
        (BASE.replace("digits-cnn", "{model: mnist-cnn, data: cifar10}"), r"data 'cifar10'; accepted: mnist, synth"),
        (BASE.replace("digits-cnn", "{model: digits-cnn, train_samples: 9999}"), r"train_samples 9999; accepted: 1 to"),
        (BASE.replace("digits-cnn", "{model: digits-cnn, epochs: 0}"), r"epochs 0"),
        (BASE.replace("[digits-cnn]", "[]"), r"models is \[\]; accepted: a list of at least one"),
        ("devices: [cpu]\nmodels: [digits-cnn]\n", r"tools is None; accepted: a list of at least one"),
        (BASE.replace("torch", "[torch]"), r"unknown tool \['torch'\] at tools\[0\]"),
        (BASE.replace("digits-cnn", "{model: [[a]]}"), r"unknown model \['a'\] at models\[0\]"),
        (BASE.replace("digits-cnn", "{model: digits-cnn, epochs: []}"), r"models\[0\]\.epochs is an empty list"),
        (BASE + "precisions: []", r"precisions is an empty list"),
        (BASE + "repeats: 0", r"repeats is 0; accepted: a whole number from 1 to 1000"),
        (BASE + "seed: 4294967296", r"seed is 4294967296; accepted: a whole number from 0 to 4294967295"),
        (BASE + "exclude: [{tool: torch, because: ''}]", r"exclude\[0\] is .* and `because: reason`"),
        (BASE + "exclude: none", r"exclude is 'none'; accepted: a list"),
        (BASE + "include: [{tool: torch, device: cpu, model: digits-cnn, batch_size: 0}]", r"batch_size is 0"),
        (BASE + "measure: step", r"unknown measure 'step' at measure; accepted: epochs, steps"),
        (BASE + "steps: {timed: 3}", r"steps is given without `measure: steps`; accepted: both or none"),
        (BASE + STEPS + "steps: 3", r"steps is 3; accepted: the keys of, warmup, timed, at_most_s"),
        (BASE + STEPS + "steps: {time: 3}", r"unknown key 'time' at steps; accepted: at_most_s, of, timed, warmup"),
        (BASE + STEPS + "steps: {timed: 0}", r"steps\.timed is 0; accepted: a whole number from 1"),
        (BASE + STEPS + "steps: {warmup: -1}", r"steps\.warmup is -1; accepted: a whole number from 0"),
        (
            BASE + STEPS + "steps: {of: [backward]}",
            r"unknown kind of step 'backward' at steps\.of\[0\]; accepted: forward",
        ),
        (BASE + STEPS + "steps: {of: []}", r"steps\.of is an empty list"),
        (
            BASE.replace("gpu", "{device: cpu, steps: {timed: 3}}"),
            r"devices\[1\]\.steps is given and epochs are measured",
        ),
        (
            BASE.replace("gpu", "{device: cpu, steps: {of: train}}") + STEPS,
            r"unknown key 'of' at devices\[1\]\.steps; accepted: at_most_s, timed, warmup",
        ),
        (
            BASE + "include: [{tool: torch, device: cpu, model: digits-cnn, measure: steps}]",
            r"unknown measure 'steps' at include\[0\]; accepted: epochs, forward, gradients, train",
        ),
        (BASE + "repeats: true", r"repeats is True; accepted: a whole number"),
        (BASE + "seed: x", r"seed is 'x'"),
        (BASE + "time_limit_s: -1", r"time_limit_s is -1"),
        (BASE + "batch_sizes: [0]", r"batch_sizes\[0\] is 0"),
        (
            BASE + "precisions: [float8]",
            r"unknown precision 'float8' at precisions\[0\]; accepted: bfloat16, float16, float32, tf32",
        ),
        (BASE + "environments: conda", r"environments\..* is 'conda'; accepted: managed, current, or the path"),
        (BASE + "environments: {pytorch: current}", r"unknown tool 'pytorch' at environments"),
        (BASE + "exclude: [{tool: torch}]", r"exclude\[0\] is .* accepted: values of .* and `because: reason`"),
        (BASE + "exclude: [{tols: torch, because: x}]", r"unknown key 'tols' at exclude\[0\]; accepted: .*tool"),
        (BASE + "exclude: [{tool: jax, because: x}]", r"exclude\[0\] .* matches no cell"),
        (BASE + "include: [{tool: jax}]", r"include\[0\] is .*; accepted: tool, device and model"),
        (
            BASE + "include: [{tool: torch, device: cpu, model: digits-cnn}]",
            r"torch · cpu · digits-cnn · batch 32 2 times",
        ),
    ],
)
def test_a_broken_matrix_is_answered_with_got_accepted_and_where(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml cannot be read \(No such file or directory\)"):
        load_matrix(tmp_path / "none.yaml")


def test_zero_by_another_name_is_the_same_cell(tmp_path: Path) -> None:
    one, other = (load(tmp_path, BASE.replace("digits-cnn", f"{{model: digits-cnn, dropout: {x}}}")) for x in (0, 0.0))
    assert one == other


def test_repeats_can_be_chosen_for_a_run(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE + "repeats: 2\n")
    assert [cell.repeat for cell in repeat_cells(cells, 3, "--repeats")] == [0] * 4 + [1] * 4 + [2] * 4
    with pytest.raises(UserError, match="--repeats is 0; accepted"):
        repeat_cells(cells, 0, "--repeats")


def test_rounds_come_one_after_another_with_the_tools_of_a_place_together_in_a_drawn_order(tmp_path: Path) -> None:
    text = "tools: [torch, jax, mxnet, tensorflow]\ndevices: [cpu]\nmodels: [digits-cnn, digits-mlp]\nrepeats: 6\n"
    cells = load(tmp_path, text)
    shuffled = shuffle_cells(cells)
    assert set(shuffled) == set(cells)
    assert [cell.repeat for cell in shuffled] == sorted(cell.repeat for cell in cells)
    groups = [shuffled[start : start + 4] for start in range(0, len(shuffled), 4)]
    assert [{cell.workload.name for cell in group} for group in groups] == [{"digits-cnn"}, {"digits-mlp"}] * 6
    orders = {tuple(cell.tool for cell in group) for group in groups}
    assert len(orders) > 6
    assert shuffle_cells(reversed(shuffled)) != list(reversed(shuffled))
    assert shuffle_cells(cells) == shuffled


def test_another_seed_draws_another_order(tmp_path: Path) -> None:
    text = "tools: [torch, jax, mxnet, tensorflow]\ndevices: [cpu]\nmodels: [digits-cnn]\nrepeats: 6\n"
    orders = [[cell.tool for cell in shuffle_cells(load(tmp_path, text + f"seed: {seed}\n"))] for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_a_device_may_have_a_price(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE.replace("cpu,", "{device: cpu, price_per_hour: 2},"))
    assert {(cell.device, cell.price_per_hour) for cell in cells} == {("cpu", 2.0), ("gpu", None)}


def test_a_model_may_have_a_target(tmp_path: Path) -> None:
    (first, *_) = load(tmp_path, BASE.replace("digits-cnn", "{model: digits-cnn, target_error_rate: 0.05}"))
    assert first.workload.target_error_rate == 0.05
    assert first.workload.label == "digits-cnn target_error_rate=0.05"


def test_only_keeps_a_part(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE)
    assert names(select(cells, ["tool=torch", "device=cpu,gpu"])) == [cells[0].label, cells[2].label]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("tool=jax", r"unknown tool 'jax' at --only tool=jax; accepted: null, torch"),
        ("colour=red", r"--only 'colour=red'; accepted: axis=value,value with an axis of tool, device"),
        ("tool", r"--only 'tool'; accepted"),
    ],
)
def test_only_names_what_there_is(rule: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        select(load(tmp_path, BASE), [rule])


def test_what_the_machine_lacks_is_unavailable(tmp_path: Path) -> None:
    cells = load(tmp_path, BASE.replace("cpu,", "{device: cpu, cores: 3},"))
    marked = mark_unavailable(cells, cores=2, no_gpu="no card")
    assert {cell.not_run for cell in marked} == {
        ("unavailable", "3 cores were asked for and 2 are to be had"),
        ("unavailable", "no card"),
    }
    assert mark_unavailable(cells, cores=3, no_gpu=None) == cells


@pytest.mark.parametrize(
    "path", [PROJECT / "matrix.yaml", *sorted(PROJECT.glob("matrices/*.yaml"))], ids=lambda path: path.name
)
def test_the_matrices_of_the_project_are_sound(path: Path) -> None:
    cells = load_matrix(path)
    assert {cell.tool for cell in cells} == set(TOOLS)
    assert {cell.workload.name for cell in cells} <= set(WORKLOADS)
