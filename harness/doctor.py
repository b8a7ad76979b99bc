"""Says which tools, devices and data sets are here, and what to do about those that are not."""

from collections.abc import Iterator

from frameworks import TOOLS
from harness.data import doubtful_files, find_files
from harness.environments import environment_folder, find_environment, python_of, requirements_of
from harness.host import describe_host
from harness.places import samenet_data, samenet_home
from workloads.datasets import PUBLISHED_FILES


def examine() -> Iterator[str]:
    """Yield one line a finding."""
    host = describe_host()
    yield f"machine {host['machine']}: {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['system']}"
    for gpu in host["gpus"]:
        memory = "memory not told" if gpu["memory_mib"] is None else f"{gpu['memory_mib']} MiB"
        yield f"gpu: {gpu['name']}, {memory}, driver {gpu['driver']}"
    if host["no_gpu"]:
        yield f"gpu: {host['no_gpu']}; cells on gpu will be `unavailable`"
    yield f"SAMENET_HOME: {samenet_home()}"
    yield f"SAMENET_DATA: {samenet_data() or 'not set'}"
    yield from _examine_tools()
    yield from _examine_data()


def _examine_tools() -> Iterator[str]:
    for name, tool in TOOLS.items():
        for device in ("cpu", "gpu"):
            requirements = requirements_of(name, device)
            if device in tool.unsupported:
                state = f"unsupported: {tool.unsupported[device]}"
            elif requirements is None:
                state = "here: needs no environment"
            elif find_environment(requirements, python_of(name)):
                state = f"here: environment {environment_folder(requirements, python_of(name)).name}"
            else:
                state = f"not installed yet: the first run makes it from requirements/{requirements.name}"
            yield f"tool {name} ({tool.label}) on {device}: {state}"


def _examine_data() -> Iterator[str]:
    yield "data digits: here, ships with scikit-learn"
    for source, published in PUBLISHED_FILES.items():
        folder = find_files(source)
        if folder is None:
            yield f"data {source}: not here; the first run downloads it, or put it into a folder and set SAMENET_DATA"
            continue
        missing = [name for name in published.files if not (folder / name).is_file()]
        if missing:
            yield f"data {source}: {folder} lacks {', '.join(missing)}; add them, or remove the folder"
        else:
            doubtful = doubtful_files(source, folder)
            note = f"not known to be the published bytes: {', '.join(doubtful)}" if doubtful else "the published bytes"
            yield f"data {source}: {folder}, {note}"
