"""What a watch saw becomes numbers of a window: known answers for made-up samples."""

from dataclasses import replace
from typing import Any

import pynvml
import pytest

from harness.launch import Outcome, bounds_window, measured_windows, without_worker
from harness.recording import utilisation
from harness.sensors import THROTTLE_REASONS
from harness.telemetry import SERIES_POINTS, Load, Sample, Watch, newest_load, series, summarize
from tests.helpers import OWN, make_sample, make_watch

STRANGER = 200
GPU = {
    "gpu_pct": 80.0,
    "gpu_memory_mib": 1000.0,
    "gpu_power_w": 300.0,
    "sm_clock_mhz": 1500.0,
    "temperature_c": 60.0,
    "throttle": 0.0,
    "energy_j": 0.0,
}


def make_outcome(**changes: Any) -> Outcome:
    """An outcome of which only what is given matters."""
    return replace(without_worker("ok", ""), **changes)


def make_gpu_watch(*gpus: list[dict[str, Any]], pids: list[set[int]] | None = None) -> Watch:
    """A watch with a sample a second of what is given for each GPU; on them are the worker or `pids`."""
    count = len(gpus[0])
    listed = pids or [{OWN}] * count
    return make_watch(
        [
            make_sample(float(at), gpus=tuple(GPU | gpu[at] for gpu in gpus), gpu_pids=frozenset(listed[at]))
            for at in range(count)
        ],
        gpus=len(gpus),
    )


def test_a_steady_group_is_summed_up() -> None:
    seen = summarize(make_watch([make_sample(float(at)) for at in range(11)]), 2.0, 8.0)
    assert seen == {
        "cpu_pct": pytest.approx(25.0),
        "busiest_core_pct": pytest.approx(100.0),
        "others_pct": pytest.approx(37.5),
        "rss_mib": 100.0,
        "package_energy_j": pytest.approx(240.0),
        "gpu_strangers": None,
        "gpus": [],
        "reasons": {},
    }


def test_a_window_of_a_few_ticks_has_no_cpu_time() -> None:
    watch = make_watch([make_sample(at / 100) for at in range(11)])
    long, short = summarize(watch, 0.0, 0.1), summarize(watch, 0.0, 0.05)
    assert (long["cpu_pct"], long["reasons"]) == (pytest.approx(25.0), {})
    assert [short[name] for name in ("cpu_pct", "busiest_core_pct", "others_pct")] == [None, None, None]
    assert short["reasons"]["cpu_pct"] == "a window of 0.05 s is too short for ticks of 0.01 s"
    assert short["package_energy_j"] == pytest.approx(2.0)


def test_counters_are_interpolated_at_both_ends_of_the_window() -> None:
    counted = [0.0, 0.0, 4.0, 8.0, 12.0, 16.0, 16.0]
    watch = make_watch([make_sample(float(at), package_j=joules) for at, joules in enumerate(counted)])
    assert summarize(watch, 1.25, 4.75)["package_energy_j"] == pytest.approx(14.0)
    assert summarize(watch, 0.75, 5.25)["package_energy_j"] == pytest.approx(16.0)


def test_memory_is_the_peak_within_the_window_alone() -> None:
    watch = make_watch([make_sample(float(at), rss_mib=mib) for at, mib in enumerate([9e9, 10.0, 30.0, 20.0, 9e9])])
    assert summarize(watch, 0.9, 3.1)["rss_mib"] == 30.0


def test_others_are_never_less_than_nobody() -> None:
    watch = make_watch([make_sample(float(at), cpu_s=3.0 * at) for at in range(5)])
    seen = summarize(watch, 0.0, 4.0)
    assert (seen["cpu_pct"], seen["others_pct"]) == (150.0, 0.0)


def test_readings_of_a_gpu_are_means_peaks_and_joules() -> None:
    sensed = [
        {"gpu_pct": 0.0, "gpu_power_w": 50.0, "gpu_memory_mib": 9000.0, "temperature_c": 99.0, "energy_j": 1000.0},
        {"gpu_pct": 10.0, "gpu_power_w": 100.0, "gpu_memory_mib": 500.0, "temperature_c": 50.0, "energy_j": 1100.0},
        {"gpu_pct": 90.0, "gpu_power_w": 300.0, "gpu_memory_mib": 700.0, "temperature_c": 70.0, "energy_j": 1400.0},
        {"gpu_pct": 100.0, "gpu_power_w": 400.0, "gpu_memory_mib": 600.0, "temperature_c": 60.0, "energy_j": 1800.0},
        {"gpu_pct": 0.0, "gpu_power_w": 50.0, "gpu_memory_mib": 9000.0, "temperature_c": 99.0, "energy_j": 1850.0},
    ]
    seen = summarize(make_gpu_watch(sensed), 1.0, 3.0)
    assert seen["gpus"] == [
        {
            "gpu_pct": 95.0,
            "gpu_power_w": 350.0,
            "sm_clock_mhz": 1500.0,
            "gpu_memory_mib": 700.0,
            "temperature_c": 70.0,
            "energy_j": 700.0,
            "throttle": [],
        }
    ]
    assert (seen["gpu_strangers"], seen["reasons"]) == (0, {})


def test_a_mean_weighs_each_reading_with_the_time_it_stands_for() -> None:
    read = {0.0: 0.0, 1.0: 50.0, 1.1: 100.0, 2.0: 20.0, 3.0: 90.0}
    samples = [make_sample(at, gpus=(GPU | {"gpu_pct": pct},)) for at, pct in read.items()]
    (gpu,) = summarize(make_watch(samples, gpus=1), 0.9, 2.1)["gpus"]
    assert gpu["gpu_pct"] == pytest.approx((0.1 * 50 + 0.1 * 100 + 0.9 * 20 + 0.1 * 90) / 1.2)


def test_each_gpu_has_its_own_numbers() -> None:
    first = [{"gpu_pct": 100.0, "energy_j": 100.0 * at} for at in range(4)]
    second = [{"gpu_pct": 50.0, "energy_j": 10.0 * at} for at in range(4)]
    seen = summarize(make_gpu_watch(first, second), 0.0, 3.0)
    assert [(gpu["gpu_pct"], gpu["energy_j"]) for gpu in seen["gpus"]] == [(100.0, 300.0), (50.0, 30.0)]


def test_throttling_within_the_window_is_named() -> None:
    power, thermal = pynvml.nvmlClocksEventReasonSwPowerCap, pynvml.nvmlClocksEventReasonHwThermalSlowdown
    idle, brake = pynvml.nvmlClocksEventReasonGpuIdle, pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
    masks = [brake, idle, power | idle, power | thermal, 0, brake]
    watch = make_gpu_watch([{"throttle": float(mask)} for mask in masks])
    (gpu,) = summarize(watch, 0.9, 4.1)["gpus"]
    assert gpu["throttle"] == ["power cap", "thermal, by hardware"]
    assert list(THROTTLE_REASONS.values()) == [
        "power cap",
        "hardware slowdown",
        "thermal, by software",
        "thermal, by hardware",
        "power brake",
    ]


def test_strangers_on_the_gpu_are_counted_once_each_and_within_the_window() -> None:
    pids = [{STRANGER + 9}, {OWN}, {OWN, STRANGER}, {OWN, STRANGER, STRANGER + 1}, {OWN}, {STRANGER + 9}]
    watch = make_gpu_watch([{}] * 6, pids=pids)
    assert summarize(watch, 0.9, 4.1)["gpu_strangers"] == 2
    assert summarize(watch, -0.1, 0.9)["gpu_strangers"] == 1


def test_strangers_are_unknown_where_the_worker_itself_is_never_listed() -> None:
    for pids in ([{7777}] * 5, [set()] * 5):
        seen = summarize(make_gpu_watch([{}] * 5, pids=pids), 0.0, 4.0)
        assert seen["gpu_strangers"] is None
        assert seen["reasons"] == {
            "gpu_strangers": "NVML never listed the worker's own process, so others cannot be told"
        }


def test_a_child_that_has_ended_since_is_no_stranger() -> None:
    watch = make_gpu_watch([{}] * 5, pids=[{OWN}, {OWN, OWN + 1}, {OWN}, {OWN}, {OWN}])
    watch.group.pids.add(OWN + 1)
    assert summarize(watch, 0.0, 4.0)["gpu_strangers"] == 0


def test_what_was_not_read_is_none_with_its_reason() -> None:
    watch = make_gpu_watch([{"gpu_power_w": None, "throttle": None}] * 5)
    watch.reasons = {"gpu_power_w": "not supported", "throttle": "too old", "energy_j": "once"}
    seen = summarize(watch, 0.0, 4.0)
    (gpu,) = seen["gpus"]
    assert (gpu["gpu_power_w"], gpu["throttle"], gpu["gpu_pct"], gpu["energy_j"]) == (None, None, 80.0, 0.0)
    assert seen["reasons"] == {"gpu_power_w": "not supported", "throttle": "too old"}


def test_a_reading_with_a_gap_within_is_used_and_one_without_an_end_is_not() -> None:
    watch = make_gpu_watch([{"energy_j": None if at in (3, 4) else 10.0 * at, "gpu_pct": None} for at in range(9)])
    assert summarize(watch, 0.0, 8.0)["gpus"][0]["energy_j"] == pytest.approx(80.0)
    seen = summarize(watch, 0.0, 4.0)
    assert seen["gpus"][0]["energy_j"] is None
    assert seen["reasons"]["energy_j"] == "samples lie too far apart for a window of 4 s"


def test_gpus_that_could_not_be_opened_have_no_numbers() -> None:
    watch = make_watch([make_sample(float(at)) for at in range(5)], gpus=2)
    watch.reasons = dict.fromkeys((*GPU, "gpu_strangers"), "no driver")
    seen = summarize(watch, 0.0, 4.0)
    assert seen["gpus"] == [dict.fromkeys(GPU)] * 2
    assert seen["reasons"] == dict.fromkeys((*GPU, "gpu_strangers"), "no driver")


@pytest.mark.parametrize(
    ("moments", "window"),
    [
        ([], (1.0, 2.0)),
        ([1.0], (1.0, 2.0)),
        ([0.0, 10.0], (4.0, 6.0)),
        ([0.0, 0.5, 1.0], (0.6, 0.9)),
        ([0.0, 1.0, 2.0], (1.0, 9.0)),
        ([0.0, 1.0, 2.0], (1.0, 1.0)),
        ([0.0, 1.0, 2.0], (2.0, 0.0)),
    ],
    ids=["no sample", "one sample", "far away", "shorter than the period", "ended before", "empty", "backwards"],
)
def test_a_window_that_samples_do_not_bound_has_no_numbers(moments: list[float], window: tuple[float, float]) -> None:
    seen = summarize(make_watch([make_sample(at, rss_mib=None) for at in moments]), *window)
    names = ("cpu_pct", "busiest_core_pct", "others_pct", "rss_mib", "package_energy_j")
    assert {name: seen[name] for name in names} == dict.fromkeys(names)
    assert seen["reasons"].keys() == set(names)


def test_counters_that_stand_still_are_no_idle_cores() -> None:
    seen = summarize(make_watch([make_sample(float(at), core_s=(7.0, 7.0)) for at in range(5)]), 0.0, 4.0)
    assert (seen["cpu_pct"], seen["busiest_core_pct"], seen["others_pct"]) == (25.0, None, None)
    assert set(seen["reasons"].values()) == {"the system's counters of busy cores stand still"}


def test_a_series_keeps_first_and_last_of_evenly_chosen_samples() -> None:
    watch = make_gpu_watch([{"gpu_pct": float(at % 100), "gpu_power_w": None} for at in range(1000)])
    kept = series(watch, -1.0)
    assert len(kept["at_s"]) == SERIES_POINTS
    assert (kept["at_s"][0], kept["at_s"][-1]) == (1.0, 1000.0)
    assert {late - early for early, late in zip(kept["at_s"], kept["at_s"][1:], strict=False)} <= {16.0, 17.0, 18.0}
    assert (kept["cpu_s"][-1], kept["rss_mib"][-1]) == (499.5, 100.0)
    assert kept["gpus"][0]["gpu_pct"][-1] == 99.0
    assert set(kept["gpus"][0]["gpu_power_w"]) == {None}


def test_a_series_of_few_samples_has_them_all_and_of_none_is_empty() -> None:
    assert series(make_watch([make_sample(1.0), make_sample(2.5)]), 0.5)["at_s"] == [0.5, 2.0]
    assert series(make_watch([]), 0.0) == {"at_s": [], "cpu_s": [], "rss_mib": [], "gpus": []}


EPOCHS = [
    {"event": "started", "at": 0.0},
    {"event": "training", "at": 10.0},
    {"event": "stage", "at": 11.0},
    {"event": "epoch", "at": 15.0, "epoch": 0},
    {"event": "epoch", "at": 18.0, "epoch": 1},
    {"event": "epoch", "at": 21.0, "epoch": 2},
    {"event": "stage", "at": 30.0},
]
STEPS = [
    {"event": "training", "at": 10.0},
    {"event": "step", "at": 14.0, "step": 0, "warmup": True, "wall_s": 4.0},
    {"event": "step", "at": 15.5, "step": 1, "warmup": False, "wall_s": 1.0},
    {"event": "step", "at": 17.0, "step": 2, "warmup": False, "wall_s": 1.0},
    {"event": "result", "at": 20.0},
]


@pytest.mark.parametrize(
    ("events", "windows"),
    [
        (EPOCHS, ((10.0, 21.0), (15.0, 21.0))),
        (EPOCHS[:4], ((10.0, 15.0), (10.0, 15.0))),
        (EPOCHS[:3], None),
        (STEPS, ((14.5, 17.0), (14.5, 17.0))),
        (STEPS[:2], None),
        ([], None),
    ],
    ids=["epochs", "one epoch", "no epoch", "steps", "only warm-up", "nothing"],
)
def test_training_and_its_steady_part_are_found_among_the_events(
    events: list[dict[str, Any]], windows: tuple[tuple[float, float], tuple[float, float]] | None
) -> None:
    assert measured_windows(events) == windows


def test_windows_may_begin_or_end_at_training_at_the_first_and_last_epoch_and_after_warm_up() -> None:
    assert [event["at"] for event in EPOCHS if bounds_window(event, 3)] == [10.0, 15.0, 21.0]
    assert [event["at"] for event in STEPS if bounds_window(event, 3)] == [10.0, 14.0]


def test_several_gpus_become_one_number_each_as_its_unit_asks() -> None:
    gpus = [
        {**GPU, "gpu_pct": 100.0, "temperature_c": 70.0, "energy_j": 5.0, "throttle": ["power cap"]},
        {**GPU, "gpu_pct": 50.0, "temperature_c": 60.0, "energy_j": 7.0, "throttle": ["power brake", "power cap"]},
    ]
    training = {"cpu_pct": 12.5, "gpu_strangers": 1, "gpus": gpus, "reasons": {"rss_mib": "hidden"}}
    before = {"others_pct": 33.0, "gpu_strangers": 2, "gpus": [], "reasons": {"cpu_pct": "a", "others_pct": "b"}}
    kept = utilisation(
        make_outcome(utilisation={"before": before, "training": training, "series": {"at_s": [1]}}), 2, 2
    )
    assert kept.pop("steady") == dict.fromkeys(
        set(kept) - {"cpus", "gpus", "before", "series", "framework_memory_mib"}
    ) | {"missing": {}}
    assert kept == {
        "cpus": 2,
        "gpus": 2,
        "cpu_pct": 12.5,
        "busiest_core_pct": None,
        "others_pct": None,
        "rss_mib": None,
        "package_energy_j": None,
        "gpu_strangers": 1,
        "gpu_pct": 75.0,
        "gpu_memory_mib": 2000.0,
        "gpu_power_w": 600.0,
        "energy_j": 12.0,
        "sm_clock_mhz": 1500.0,
        "temperature_c": 70.0,
        "throttle": ["power brake", "power cap"],
        "missing": {"rss_mib": "hidden"},
        "before": {"others_pct": 33.0, "gpu_strangers": 2, "missing": {"others_pct": "b"}},
        "framework_memory_mib": None,
        "series": {"at_s": [1]},
    }


def test_a_sum_over_gpus_of_which_one_is_silent_is_unknown() -> None:
    gpus = [{**GPU, "throttle": []}, {**GPU, "energy_j": None, "throttle": None}]
    kept = utilisation(make_outcome(utilisation={"training": {"gpus": gpus}}), 2, 2)
    assert (kept["energy_j"], kept["throttle"], kept["gpu_power_w"]) == (None, None, 600.0)


def test_what_the_framework_knows_of_its_memory_is_kept_beside() -> None:
    result = {"event": "result", "at": 1.0, "peak_memory_bytes": 3 * 2**20}
    assert utilisation(make_outcome(events=[result]), 2, 1)["framework_memory_mib"] == 3.0
    assert utilisation(make_outcome(), 2, 1)["framework_memory_mib"] is None


def test_the_newest_load_is_of_the_last_second_of_samples_or_a_little_more() -> None:
    samples = [make_sample(at, cpu_s=cpu_s) for at, cpu_s in ((0.0, 0.0), (8.0, 0.0), (9.5, 1.5), (10.0, 2.5))]
    samples[-1] = replace(samples[-1], gpus=({"gpu_pct": 90.0}, {"gpu_pct": 40.0}))
    assert newest_load(make_watch(samples)) == Load(cpu_pct=62.5, gpu_pct=65.0)


@pytest.mark.parametrize(
    ("samples", "load"),
    [
        ([], Load(cpu_pct=None, gpu_pct=None)),
        ([make_sample(0.0), make_sample(0.9)], Load(cpu_pct=None, gpu_pct=None)),
        ([make_sample(0.0, cpu_s=None), make_sample(2.0)], Load(cpu_pct=None, gpu_pct=None)),
        ([make_sample(0.0), make_sample(2.0, cpu_s=None)], Load(cpu_pct=None, gpu_pct=None)),
        (
            [make_sample(0.0), make_sample(2.0, gpus=({"gpu_pct": None}, {"gpu_pct": 30.0}))],
            Load(cpu_pct=25.0, gpu_pct=30.0),
        ),
    ],
    ids=["no sample", "too near", "unread before", "unread now", "a GPU that is lost"],
)
def test_what_the_newest_samples_do_not_tell_is_unknown(samples: list[Sample], load: Load) -> None:
    assert newest_load(make_watch(samples)) == load
