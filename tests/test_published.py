"""The published figures against what their articles print, and every message about a mistake in their file."""

from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml

from harness.published import PUBLISHED, TIMES, Figure, load_published
from workloads import make_workload
from workloads.errors import UserError

FIGURE = {
    "system": "neon", "hardware": "Tesla K80", "device": "gpu", "model": "mnist-cnn", "epochs": 10, "batch_size": 128,
    "measure": "epochs", "train_s": 25.8, "error_pct": 0.95,
}  # fmt: skip
STEP = {"epochs": ..., "train_s": ..., "measure": "train", "wall_s": [9.0, 1.0]}
"""Makes of FIGURE one of steps."""


def published(model: str, *, source: str = "", system: str = "", hardware: str = "", measure: str = "") -> list[Figure]:
    """The figures of a workload in whose source, system, hardware and measure these words stand."""
    return [
        figure
        for figure in load_published()
        if figure.workload.label == model
        and source in figure.source.name
        and figure.system.startswith(system)
        and hardware in figure.hardware
        and measure in figure.measure
    ]


@pytest.mark.parametrize(
    ("system", "hardware", "train_s", "error_rate"),
    [
        ("neon", "p2.xlarge", 25.8461339474, 0.00949999969453),
        ("Keras 1.1.0 on TensorFlow", "p2.xlarge", 36.8663649559, 0.0089),
        ("Keras 1.1.0 on TensorFlow", "p2.8xlarge", 35.87, 0.0078),
        ("Keras 1.1.0 on TensorFlow", "g2.2xlarge", 56.07, 0.0086),
        ("Keras 1.1.0 on TensorFlow", "4 cores", 326.480363846, 0.0087),
        ("Keras 1.1.0 on TensorFlow", "32 cores", 131.895182848, 0.0091),
        ("Keras 1.1.0 on Theano", "p2.xlarge", 129.695548058, 0.0102),
        ("Keras 1.1.0 on Theano", "p2.8xlarge", 164.69, 0.0108),
        ("Keras 1.1.0 on Theano", "g2.2xlarge", 158.52, 0.0088),
        ("MXNet 0.7 (R)", "p2.xlarge", 50.519, 0.0106),
        ("MXNet 0.7 (R), without cuDNN", "p2.xlarge", 83.411, 0.0102),
        ("MXNet 0.7 (R), 8 GPUs", "8 ×", 608.374, 0.0093),
        ("R Keras", "K80", 38, 0.010),
        ("Keras on CNTK", "K80", 58, 0.008),
        ("Keras on CNTK", "1080 Ti", 23, 0.009),
        ("MXNet (R)", "1080 Ti", 25, 0.008),
        ("Keras on TensorFlow", "1080 Ti", 27, 0.008),
        ("Keras on Theano", "1080 Ti", 73, 0.009),
        ("Keras on TensorFlow", "V100", 20, 0.007),
    ],
)
def test_the_figures_of_benchm_dl_are_those_of_its_logs(
    system: str, hardware: str, train_s: float, error_rate: float
) -> None:
    figure = published("mnist-cnn", source="benchm-dl", system=system, hardware=hardware)[0]
    assert (round(figure.train_s or 0, 2), figure.workload.epochs) == (round(train_s, 2), 10)
    assert figure.error_rate == pytest.approx(error_rate)


def test_the_colab_article_is_about_nine_times_as_fast_on_its_gpu() -> None:
    cpu, gpu = published("cifar10-cnn")
    assert (cpu.train_s, gpu.train_s) == (36 * 60 + 31.572622, 4 * 60 + 6.330451)
    assert (cpu.device, gpu.device) == ("cpu", "gpu")
    assert cpu.train_s is not None and gpu.train_s is not None
    assert round(cpu.train_s / gpu.train_s) == 9
    assert (round(cpu.error_rate or 0, 4), gpu.error_rate) == (1 - 0.7561, None)


def test_the_means_of_the_later_calls_are_those_of_their_article() -> None:
    mac, gtx = (published("cifar10-resnet", hardware=name) for name in ("Mac mini", "GTX 1080"))
    assert [len(figure.wall_s or ()) for figure in (*mac, *gtx)] == [4] * 6
    later = [[s for figure in figures for s in (figure.wall_s or ())[2:]] for figures in (mac, gtx)]
    assert [round(mean(seconds), 6) for seconds in later] == [28.382499, 0.178036]
    assert round(round(mean(later[0]), 6) / round(mean(later[1]), 6), 2) == 159.42
    assert [figure.wall_s for figure in (*mac, *gtx)] == [
        (54.792648, 28.602382, 28.086050, 28.610886),
        (56.123174, 30.115714, 28.562303, 28.036568),
        (53.308898, 27.672237, 28.602799, 28.396387),
        (15.327186, 0.204940, 0.178514, 0.177793),
        (15.316593, 0.178353, 0.177940, 0.177911),
        (15.384140, 0.178244, 0.178042, 0.178016),
    ]
    assert mac[0].process_s == (103.070201, 76.877656, 76.605735, 77.116006)
    assert gtx[0].process_s == (15.410076, 0.215100, 0.178330, 0.182779)


@pytest.mark.parametrize(
    ("units", "cpu_s", "cpu_accuracy", "gpu_s", "gpu_accuracy"),
    [
        (4, 12.0523, 0.6008, 32.7011, 0.5369),
        (8, 13.4265, 0.8016, 32.8508, 0.7783),
        (16, 15.1539, 0.9227, 32.9818, 0.9208),
        (32, 15.8237, 0.9579, 32.7519, 0.9589),
        (64, 21.3826, 0.9725, 33.0307, 0.9736),
        (128, 31.7006, 0.9782, 32.4855, 0.9777),
        (256, 59.6029, 0.9813, 33.4356, 0.9816),
        (512, 128.9178, 0.9797, 37.803, 0.982),
        (1024, 354.0091, 0.981, 60.7474, 0.9807),
    ],
)
def test_the_perceptrons_have_the_seconds_and_the_accuracy_that_stand_below_swapped_heads(
    units: int, cpu_s: float, cpu_accuracy: float, gpu_s: float, gpu_accuracy: float
) -> None:
    cpu, gpu = published(make_workload("mnist-mlp", {"units": units}).label)
    assert [(figure.hardware, figure.device, figure.train_s) for figure in (cpu, gpu)] == [
        ("Core i5-750", "cpu", cpu_s),
        ("GTX 660", "gpu", gpu_s),
    ]
    assert [1 - (figure.error_rate or 0) for figure in (cpu, gpu)] == pytest.approx([cpu_accuracy, gpu_accuracy])


def test_alexnet_benchmark_has_its_docstring_and_the_log_of_2019() -> None:
    ms = {(f.hardware, f.measure): (f.step_ms, f.deviation_ms) for f in published("alexnet-owt")}
    assert ms == {
        ("Tesla K40c", "forward"): (145, 1.5),
        ("Tesla K40c", "gradients"): (480, 48),
        ("Titan X", "forward"): (70, 0.1),
        ("Titan X", "gradients"): (244, 30),
        ("GTX 1050 Ti", "forward"): (131, 1),
        ("GTX 1050 Ti", "gradients"): (315, 1),
        ("Core i7-8650", "forward"): (2965, None),
    }


def test_tf_cnn_benchmarks_has_its_table_and_the_bars_of_its_chart() -> None:
    models = ("inception3", "resnet50", "vgg16", "alexnet", "nasnet")
    rates: dict[tuple[str, int], list[list[float | None]]] = {}
    for figure in load_published():
        place = figure.hardware, figure.workload.batch_size
        if figure.images_per_s:
            rates.setdefault(place, [[] for _ in models])[models.index(figure.workload.name)].append(
                figure.images_per_s
            )
    assert rates == {
        ("GTX 1050 Ti", 16): [[34], [54], [29], [213], [38]],
        ("GTX 1050 Ti", 32): [[37, 34.1], [62, 51.66, 51.93], [33, 28.42], [386, 386.35], [41, 40.93]],
        ("GTX 1050 Ti", 64): [[39], [65], [30], [466], [44]],
        ("Tesla K80", 32): [[29.3], [49.5], [35.4], [], []],
        ("Tesla P100", 32): [[128], [195], [144], [], []],
    }


def test_every_figure_says_where_it_is_from_and_what_is_unfair() -> None:
    sources = {figure.source for figure in load_published()}
    assert len(sources) == 9
    for source in sources:
        assert source.year and source.timed and source.unfair, source.name
        assert source.address or source.name in ("Colab article", "Korean MLP article")
    for figure in load_published():
        assert figure.system and figure.hardware
        assert sum(getattr(figure, name) is not None for name in TIMES) == 1


def test_every_note_is_used() -> None:
    used = {note for figure in load_published() for note in figure.unfair}
    assert used == set(yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["notes"].values())


@pytest.mark.parametrize(
    ("model", "system", "words"),
    [
        ("mnist-cnn", "MXNet", "917,370 parameters instead of 65,402"),
        ("mnist-cnn", "MXNet", "1e-5 is a weight decay"),
        ("mnist-cnn", "neon", "no biases"),
        ("mnist-cnn", "neon", "1e-5 is a weight decay"),
        ("nasnet", "TensorFlow", "biases and a ReLU"),
    ],
)
def test_what_makes_a_system_another_net_stands_with_each_of_its_figures(model: str, system: str, words: str) -> None:
    figures = published(model, system=system)
    assert figures
    assert all(any(words in note for note in figure.unfair) for figure in figures)


def write(folder: Path, *, notes: Any = None, figure: Any = None, **changes: Any) -> Path:
    """Write a file of one figure, with changes; `...` leaves a key out."""
    source = {
        "name": "Article", "title": "T", "year": 2016, "timed": "fit", "unfair": ["one run"],
        "figures": [figure or FIGURE], **changes,
    }  # fmt: skip
    content = {"notes": notes or {}, "sources": [{key: value for key, value in source.items() if value is not ...}]}
    path = folder / "figures.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """FIGURE with changes; `...` leaves a key out."""
    return {key: value for key, value in {**FIGURE, **changes}.items() if value is not ...}


def test_what_figures_share_stands_once_and_their_own_comes_before_it(tmp_path: Path) -> None:
    common = {"common": {"device": "cpu", "system": "neon"}, "figures": [changed(system=..., device="gpu")]}
    figure = load_published(write(tmp_path, **common))[0]
    assert (figure.system, figure.device) == ("neon", "gpu")


def test_an_address_names_the_commit(tmp_path: Path) -> None:
    of_git = {"repository": "a/b", "commit": "4f6de55", "path": "c/d.md"}
    assert load_published(write(tmp_path, **of_git))[0].source.address == "https://github.com/a/b/tree/4f6de55/c/d.md"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"editor": "x"}, r"unknown key 'editor' at figures.yaml sources\[0\]; accepted: .*author, .*unfair"),
        ({"unfair": ...}, r"figures.yaml sources\[0\] lacks unfair; accepted: .*Add what is missing"),
        ({"unfair": []}, r"sources\[0\].unfair is \[\]; accepted: a list of at least one"),
        ({"unfair": [1]}, r"sources\[0\].unfair\[0\] is 1; accepted: a text"),
        ({"title": " "}, r"sources\[0\].title is ' '; accepted: a text"),
        ({"year": "once"}, r"sources\[0\].year is 'once'; accepted: a year or a span"),
        ({"year": 2016.5}, r"sources\[0\].year is 2016.5; accepted: a year or a span"),
        ({"repository": "a b"}, r"sources\[0\].repository is 'a b'; accepted: a repository of GitHub"),
        ({"repository": "a/b", "commit": 4.0e55}, r"sources\[0\].commit is 4e\+55; accepted: the start of a commit"),
        ({"repository": "a/b", "path": ")"}, r"sources\[0\].path is '\)'; accepted: a path within the repository"),
        ({"repository": "a/b"}, r"sources\[0\] lacks its repository or commit; accepted: both"),
        ({"path": "a"}, r"sources\[0\] lacks its repository or commit; accepted: both"),
        ({"common": 1}, r"sources\[0\].common is 1; accepted: keys with values"),
        ({"figures": 1}, r"sources\[0\].figures is 1; accepted: a list of at least one"),
        ({"figures": [1]}, r"sources\[0\].figures\[0\] is 1; accepted: keys with values"),
    ],
)
def test_a_mistake_in_a_source_is_said_with_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_published(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seconds": 1},
            r"unknown key 'seconds' at figures.yaml sources\[0\].figures\[0\]; accepted: accuracy, batch_size",
        ),
        ({"hardware": ...}, r"sources\[0\].figures\[0\] lacks hardware; accepted: system, hardware"),
        ({"device": "tpu"}, r"unknown device 'tpu' at .*figures\[0\].device; accepted: cpu, gpu"),
        ({"measure": "step"}, r"unknown measure 'step' at .*figures\[0\].measure; accepted: epochs, forward"),
        ({"model": "lenet"}, r"unknown model 'lenet' at .*figures\[0\]; accepted: alexnet"),
        ({"parameters": {"width": 4}}, r"unknown parameter of mnist-cnn 'width' at .*figures\[0\]"),
        ({"batch_size": True}, r"figures\[0\].batch_size is True; accepted: a whole number above 0"),
        ({"batch_size": 0}, r"figures\[0\].batch_size is 0; accepted: a whole number above 0"),
        ({"train_s": "25.8"}, r"figures\[0\].train_s is '25.8'; accepted: a finite number above 0"),
        ({"train_s": 0}, r"figures\[0\].train_s is 0; accepted: a finite number above 0"),
        ({"train_s": float("inf")}, r"figures\[0\].train_s is inf; accepted: a finite number above 0"),
        ({"train_s": float("nan")}, r"figures\[0\].train_s is nan; accepted: a finite number above 0"),
        ({"error_pct": 101}, r"figures\[0\].error_pct is 101; accepted: a finite number above 0 and up to 100"),
        ({"accuracy": 75.6}, r"figures\[0\].accuracy is 75.6; accepted: a finite number above 0 and up to 1"),
        ({"accuracy": 0.9}, r"figures\[0\] has error_pct and accuracy; accepted: the one that its source prints"),
        ({"unfair": ["stride"]}, r"unknown note 'stride' at .*figures\[0\].unfair; accepted: luck"),
        ({"train_s": ...}, r"figures\[0\] has no time; accepted: one of train_s, step_ms, images_per_s, wall_s"),
        ({"step_ms": 1}, r"figures\[0\] has train_s and step_ms; accepted: one of train_s"),
        ({"epochs": ...}, r"figures\[0\] has train_s, the measure epochs and epochs None; accepted: train_s"),
        ({"measure": "train"}, r"figures\[0\] has train_s, the measure train and epochs 10; accepted: train_s"),
        ({**STEP, "measure": "epochs"}, r"figures\[0\] has wall_s, the measure epochs and epochs None"),
        ({"deviation_ms": 1}, r"figures\[0\] has deviation_ms without step_ms; accepted: both"),
        ({"process_s": [1]}, r"figures\[0\] has process_s without wall_s; accepted: both"),
        (
            {**STEP, "process_s": [9.0]},
            r"figures\[0\] has not as many process_s as wall_s; accepted: one of each a call",
        ),
        ({**STEP, "wall_s": [9.0, -1]}, r"figures\[0\].wall_s\[1\] is -1; accepted: a finite number above 0"),
    ],
)
def test_a_mistake_in_a_figure_is_said_with_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_published(write(tmp_path, notes={"luck": "by luck"}, figure=changed(**changes)))


def test_a_file_that_is_not_there_or_no_yaml_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file of published figures .*none.yaml cannot be read \(No such file"):
        load_published(tmp_path / "none.yaml")
    path = tmp_path / "figures.yaml"
    path.write_text("notes: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"file of published figures .*figures.yaml is not YAML"):
        load_published(path)


def test_other_keys_of_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "figures.yaml"
    for text, message in [
        ("articles: []\n", "unknown key 'articles' at figures.yaml; accepted: notes, sources"),
        ("notes: {}\n", "figures.yaml lacks sources; accepted: notes, sources"),
        ("- 1\n", r"figures.yaml is \[1\]; accepted: keys with values"),
        ("notes: {a: 1}\nsources: [1]\n", "figures.yaml notes.a is 1; accepted: a text"),
    ]:
        path.write_text(text, encoding="utf-8")
        load_published.cache_clear()
        with pytest.raises(UserError, match=message):
            load_published(path)
