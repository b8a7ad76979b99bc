"""The columns of `cells.csv` and `cells.parquet`: how each is called, what it holds and how a record gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from harness.ledger import energy_sources, measured_s, training_energy_j
from harness.run_facts import RunFacts

Kind = Literal["text", "number", "whole", "yes/no", "moment"]
Getter = Callable[[RunFacts], Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. `meaning` is for readers; `of` gets its value from what is known of a run, None where there is none.

    A value that is not of its kind, as an edited record may hold, counts as none.
    """

    name: str
    kind: Kind
    meaning: str
    of: Getter


def _at(path: str) -> Getter:
    """Return what gets the value at a path of a record, None where there is none."""
    outer, _, name = path.rpartition(".")
    return lambda facts: facts.part(outer).get(name)


def _joined(path: str, name: str | None = None) -> Getter:
    """Return what gets the texts of a list, or those that its entries have under a name, as one."""
    find = _at(path)

    def join(facts: RunFacts) -> str | None:
        found = find(facts)
        entries = found if type(found) is list else []
        named = entries if name is None else [one.get(name) for one in entries]
        return ", ".join(one for one in named if type(one) is str) or None

    return join


def _worst(level: str, precision: str) -> Getter:
    return lambda facts: facts.worst.get((level, precision))


def _of_steps(name: str, factor: float = 1.0) -> Getter:
    return lambda facts: facts.steps and factor * getattr(facts.steps, name)


def _column(kind: Kind, name: str, meaning: str, of: str | Getter) -> Column:
    return Column(name=name, kind=kind, meaning=meaning, of=_at(of) if isinstance(of, str) else of)


_text, _number, _whole, _flag, _moment = (
    partial(_column, kind) for kind in ("text", "number", "whole", "yes/no", "moment")
)


def _of_window(part: str, prefix: str, when: str) -> tuple[Column, ...]:
    """Return what was seen of cores and GPUs over a part of training."""
    return (
        _number(
            f"{prefix}cpu_pct", f"of the cores given, taken by the worker and its children, {when}", f"{part}.cpu_pct"
        ),
        _number(f"{prefix}busiest_core_pct", f"of the busiest of them, {when}", f"{part}.busiest_core_pct"),
        _number(f"{prefix}others_pct", f"of the cores given, taken by others, {when}", f"{part}.others_pct"),
        _number(f"{prefix}rss_mib", f"memory of the worker and its children, largest sample {when}", f"{part}.rss_mib"),
        _number(f"{prefix}package_energy_j", f"energy of the CPU packages, {when}", f"{part}.package_energy_j"),
        _number(f"{prefix}gpu_pct", f"of the time the GPU was busy, {when}", f"{part}.gpu_pct"),
        _number(
            f"{prefix}gpu_memory_mib", f"memory of the GPU in use, largest sample {when}", f"{part}.gpu_memory_mib"
        ),
        _number(f"{prefix}gpu_power_w", f"mean power of the GPU, {when}", f"{part}.gpu_power_w"),
        _number(f"{prefix}gpu_energy_j", f"energy by the GPU's counter, {when}", f"{part}.energy_j"),
        _number(f"{prefix}sm_clock_mhz", f"mean clock of the GPU's multiprocessors, {when}", f"{part}.sm_clock_mhz"),
        _number(f"{prefix}temperature_c", f"temperature of the GPU, highest sample {when}", f"{part}.temperature_c"),
        _text(f"{prefix}throttle", f"why the GPU lowered its clocks, {when}", _joined(f"{part}.throttle")),
        _whole(f"{prefix}gpu_strangers", f"processes of others on the GPU, {when}", f"{part}.gpu_strangers"),
    )


COLUMNS: tuple[Column, ...] = (
    _text("machine", "hash that tells machines apart", "host.machine"),
    _text("session", "what all records of one start of the runner share", "session"),
    _moment("finished_at", "when the record was made", "finished_at"),
    _text("suite", "version of what is measured and how; compare rows of one suite only", "suite"),
    _whole("schema", "version of the format that the record is read as", "schema"),
    _text("key", "hash of what the cell is, with its repeat", "key"),
    _text("tool", "tool", "cell.tool"),
    _text("device", "`cpu` or `gpu`", "cell.device"),
    _whole("cores", "logical cores that the cell was given", "cell.cores"),
    _whole("gpus", "GPUs that the cell was given", "cell.gpus"),
    _text("model", "workload with its chosen parameters, as tables name it", "cell.model"),
    _text("workload", "name of the workload; empty before schema 4", "cell.workload.name"),
    _text("workload_parameters", "its chosen parameters, as JSON", lambda facts: facts.parameters_json),
    _whole("batch_size", "samples of a batch", "cell.batch_size"),
    _text("precision", "precision of training", "cell.precision"),
    _text("measure", "`epochs`, or a kind of step: `forward`, `gradients`, `train`", "cell.measure"),
    _whole("epochs", "epochs asked for; 0 where steps are measured", "cell.epochs"),
    _whole("warmup", "warm-up steps asked for", "cell.steps.warmup"),
    _whole("timed", "timed steps asked for", "cell.steps.timed"),
    _whole("repeat", "number of the repeat, from 0", "cell.repeat"),
    _whole("seed", "seed of the weights and of the order of samples", "cell.seed"),
    _number("time_limit_s", "after how long the cell would have been ended", "cell.time_limit_s"),
    _number("price_per_hour", "price of the machine, in the money of the matrix", "cell.price_per_hour"),
    _whole(
        "parameters",
        "trainable parameters, where this version knows the very spec",
        lambda facts: facts.net_size and facts.net_size.parameters,
    ),
    _whole(
        "forward_flops",
        "floating-point operations of one sample forward, likewise",
        lambda facts: facts.net_size and facts.net_size.forward_flops,
    ),
    _whole(
        "train_flops",
        "floating-point operations of one sample in training, likewise",
        lambda facts: facts.net_size and facts.net_size.train_flops,
    ),
    _text("status", "`ok`, or what came in the way", "status"),
    _text("reason", "why, where it is not `ok`", "reason"),
    _number(
        "measured_s",
        "what tables compare where it is `ok`: `train_s`, or the median timed step",
        lambda facts: measured_s(facts.content),
    ),
    _number("start_s", "from the launch to the first stage of the worker", "time.start_s"),
    _number("import_s", "import of the framework", "time.import_s"),
    _number("device_s", "start of the device", "time.device_s"),
    _number("data_s", "reading of the data, for steps with laying the batch on the device", "time.data_s"),
    _number("weights_s", "drawing of the initial weights", "time.weights_s"),
    _number("build_s", "building of the model", "time.build_s"),
    _number("train_s", "all epochs with the first step, or all steps with those of the warm-up", "time.train_s"),
    _number("checks_s", "looks at the error rate between epochs", "time.checks_s"),
    _number("evaluate_s", "logits of the test set", "time.evaluate_s"),
    _number("end_s", "from the last measurement to the exit", "time.end_s"),
    _number("other_s", "what nobody accounts for", "time.other_s"),
    _number(
        "total_s",
        "from the launch to the exit, the sum of those above; empty where the worker had to be ended",
        "time.total_s",
    ),
    _number("first_step_s", "first batch with its compilation, within `train_s`", "time.first_step_s"),
    _number("steady_epoch_s", "median epoch without the first", "time.steady_epoch_s"),
    _number("process_s", "CPU time of the worker's process, of all its threads", "time.process_s"),
    _whole("samples", "samples of all epochs", lambda facts: facts.samples),
    _number("samples_per_s", "`samples` / `train_s`", lambda facts: facts.samples_per_s),
    _number("steady_samples_per_s", "samples of an epoch / `steady_epoch_s`", lambda facts: facts.steady_samples_per_s),
    _number(
        "first_loss",
        "training loss of the first epoch or step",
        lambda facts: facts.loss(0),
    ),
    _number("last_loss", "training loss of the last epoch or step", lambda facts: facts.loss(-1)),
    _number("error_rate", "share of the test set that is classified wrongly, 0 to 1", "error_rate"),
    _number("test_loss", "mean loss on the test set", "test_loss"),
    _number("target_error_rate", "error rate whose reaching was looked for", lambda facts: facts.target_error_rate),
    _whole("target_epoch", "after how many epochs it was reached", lambda facts: facts.target and facts.target.epoch),
    _number(
        "target_all_in_s",
        "when it was reached, from the launch on",
        lambda facts: facts.target and facts.target.all_in_s,
    ),
    _number(
        "target_steady_s", "when it was reached, in steady epochs", lambda facts: facts.target and facts.target.steady_s
    ),
    _whole("steps", "timed steps that were taken", lambda facts: len(facts.timed_s)),
    _number("step_mean_ms", "mean of the timed steps", _of_steps("mean_s", 1000)),
    _number("step_median_ms", "median of the timed steps", _of_steps("median_s", 1000)),
    _number("step_std_ms", "population standard deviation of the timed steps", _of_steps("deviation_s", 1000)),
    _number("step_samples_per_s", "batch / mean step", _of_steps("samples_per_s")),
    _number(
        "step_samples_per_s_uncertainty", "its uncertainty, as tf_cnn_benchmarks defines it", _of_steps("uncertainty")
    ),
    _number("step_samples_per_s_jitter", "its jitter, as tf_cnn_benchmarks defines it", _of_steps("jitter")),
    *_of_window("utilisation", "", "while training"),
    *_of_window("utilisation.steady", "steady_", "in the steady part of training"),
    _number(
        "before_others_pct", "of the cores given, taken by others, before training", "utilisation.before.others_pct"
    ),
    _number(
        "framework_memory_mib", "peak memory that the framework itself knows of", "utilisation.framework_memory_mib"
    ),
    _number(
        "energy_j",
        "energy while training, of what `energy_of` says",
        lambda facts: training_energy_j(facts.content["utilisation"]),
    ),
    _text("energy_of", "whose energy it is", lambda facts: energy_sources(facts.content["utilisation"]) or None),
    _number("cost", "`total_s` at `price_per_hour`", lambda facts: facts.cost),
    _number("canary_gflops", "float32 matrix products just before the cell, 10⁹ operations a second", "canary.gflops"),
    _text("probe_precision", "in which the tool's matrix products were taken after the run", "probe.precision"),
    _number("probe_peak_gflops", "the most that they reached, 10⁹ operations a second", "probe.peak_gflops"),
    _number("canary_others_pct", "of the cores given, taken by others meanwhile", "canary.others_pct"),
    _text(
        "sameness_level", "level of the same-net proof, S0 to S3; S4 is judged when tables are made", "sameness.level"
    ),
    _text(
        "sameness_note",
        "why a level was not passed, or what is to be known of those that were",
        lambda facts: facts.verdict,
    ),
    _number("s2_float32_worst", "largest relative difference of level S2 in float32", _worst("S2", "float32")),
    _number("s2_float64_worst", "largest relative difference of level S2 in float64", _worst("S2", "float64")),
    _number(
        "s3_float32_worst", "largest relative difference of level S3 in float32, dropout aside", _worst("S3", "float32")
    ),
    _number(
        "s3_float64_worst", "largest relative difference of level S3 in float64, dropout aside", _worst("S3", "float64")
    ),
    _text("python", "version of the worker's Python", "versions.python"),
    _text("package", "main package of the tool, as it was installed", lambda facts: facts.package and facts.package[0]),
    _text("package_version", "its version", lambda facts: facts.package and facts.package[1]),
    _text("backend", "of Keras, the package below it", lambda facts: facts.backend and facts.backend[0]),
    _text("backend_version", "its version", lambda facts: facts.backend and facts.backend[1]),
    _text("cpu", "model of the processor", "host.cpu"),
    _whole("host_cores", "logical cores that the runner could use", "host.cores"),
    _number("memory_gib", "memory of the machine", "host.memory_gib"),
    _number("memory_limit_gib", "tightest limit of the runner's control groups", "host.memory_limit_gib"),
    _text("system", "operating system, its release, and the architecture", "host.system"),
    _text("container", "kind of container, or `none`", "host.container"),
    _text("governor", "frequency governor of the cores", "host.governor"),
    _flag("turbo", "whether cores could go above their nominal frequency", "host.turbo"),
    _text("gpu_names", "GPUs of the machine", _joined("host.gpus", "name")),
    _text("gpu_drivers", "their drivers", _joined("host.gpus", "driver")),
    _text("git_commit", "commit of SameNet", "host.git.commit"),
    _flag("git_clean", "whether nothing but `results/` differed from it", "host.git.clean"),
    _text("spec", "fingerprint of the workload", "fingerprints.spec"),
    _text("adapter", "fingerprint of the adapter's source", "fingerprints.adapter"),
    _text("environment", "fingerprint of what the environment was made from", "fingerprints.environment"),
    _text("data", "fingerprint of the data", "fingerprints.data"),
    _text(
        "data_unverified", "files that are not known to be the published ones", _joined("fingerprints.data_unverified")
    ),
    _text("weights", "fingerprint of the initial weights", "fingerprints.weights"),
    _text("order", "fingerprint of the order of samples", "fingerprints.order"),
)
