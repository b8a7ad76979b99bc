"""Container, memory limit and commit, from files and repositories that are made up here."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import surroundings
from harness.surroundings import UnreadableError, find_container, git_state, memory_limit_gib

MACHINE_BYTES = 16 * 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system that shows nothing, in folders of its own."""
    for name in ("PROC", "CGROUPS", "SYSTEMD_CONTAINER"):
        monkeypatch.setattr(surroundings, name, tmp_path / name)
    marks = {"docker": tmp_path / "dockerenv", "podman": tmp_path / "containerenv"}
    monkeypatch.setattr(surroundings, "CONTAINER_MARKS", marks)
    for name in (surroundings.CONTAINER_VARIABLE, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_a_machine_without_marks_is_no_container(system: Path) -> None:
    write(system / "PROC" / "1" / "cgroup", "0::/init.scope")
    assert find_container() == "none"


@pytest.mark.parametrize(("mark", "kind"), [("dockerenv", "docker"), ("containerenv", "podman")])
def test_an_engine_is_told_by_its_mark(system: Path, mark: str, kind: str) -> None:
    write(system / mark, "")
    assert find_container() == kind


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("0::/kubepods.slice/kubepods-pod12ab.slice/cri-containerd-34cd.scope", "kubernetes"),
        ("5:devices:/docker/12ab34cd", "docker"),
        ("0::/machine.slice/libpod-12ab34cd.scope", "podman"),
        ("4:memory:/lxc/somebody", "lxc"),
        ("0::/machine.slice/systemd-nspawn@somebody.service", "systemd-nspawn"),
    ],
)
def test_a_container_is_told_by_its_cgroup_and_without_its_id(system: Path, group: str, kind: str) -> None:
    write(system / "PROC" / "1" / "cgroup", f"9:pids:/\n{group}")
    assert find_container() == kind


@pytest.mark.parametrize(("told", "kind"), [("lxc", "lxc"), ("podman", "podman"), ("bobs-own", "other")])
def test_what_a_container_was_told_to_be_counts(
    system: Path, monkeypatch: pytest.MonkeyPatch, told: str, kind: str
) -> None:
    write(system / "SYSTEMD_CONTAINER", told)
    assert find_container() == kind
    (system / "SYSTEMD_CONTAINER").unlink()
    monkeypatch.setenv(surroundings.CONTAINER_VARIABLE, told)
    assert find_container() == kind


def test_a_known_name_tells_more_than_a_mark(system: Path) -> None:
    write(system / "dockerenv", "")
    write(system / "SYSTEMD_CONTAINER", "systemd-nspawn")
    assert find_container() == "systemd-nspawn"


def test_a_mark_tells_more_than_an_unknown_name(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(system / "containerenv", "")
    monkeypatch.setenv(surroundings.CONTAINER_VARIABLE, "oci")
    assert find_container() == "podman"


def test_kubernetes_is_told_by_the_address_it_gives(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(system / "dockerenv", "")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert find_container() == "kubernetes"


def test_the_tightest_limit_on_the_way_up_holds(system: Path) -> None:
    write(system / "PROC" / "self" / "cgroup", "0::/user.slice/job")
    write(system / "CGROUPS" / "user.slice" / "job" / "memory.max", "max")
    write(system / "CGROUPS" / "user.slice" / "memory.max", str(2 * 2**30))
    write(system / "CGROUPS" / "memory.max", str(4 * 2**30))
    write(system / "memory.max", str(2**30))
    assert memory_limit_gib(MACHINE_BYTES) == 2.0


def test_a_limit_of_version_1_holds_although_the_container_does_not_see_its_own_folder(system: Path) -> None:
    write(system / "PROC" / "self" / "cgroup", "9:cpu,cpuacct:/docker/12ab\n4:memory:/docker/12ab")
    write(system / "CGROUPS" / "memory" / "memory.limit_in_bytes", str(3 * 2**29))
    assert memory_limit_gib(MACHINE_BYTES) == 1.5


@pytest.mark.parametrize("text", ["max", str(2**63 - 4096), str(MACHINE_BYTES)])
def test_a_limit_that_never_bites_is_none(system: Path, text: str) -> None:
    write(system / "PROC" / "self" / "cgroup", "0::/job")
    write(system / "CGROUPS" / "job" / "memory.max", text)
    with pytest.raises(UnreadableError, match="no cgroup limits the memory"):
        memory_limit_gib(MACHINE_BYTES)


def test_a_system_without_cgroups_has_no_limit(system: Path) -> None:
    with pytest.raises(UnreadableError, match="shows no cgroup's memory limit"):
        memory_limit_gib(MACHINE_BYTES)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it says."""
    program = shutil.which("git")
    assert program
    return subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one file in one commit."""
    monkeypatch.setattr(surroundings, "PROJECT", tmp_path)
    write(tmp_path / "runner.py", "print()")
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    for arguments in (["init", "-q"], ["add", "."], [*somebody, "commit", "-q", "-m", "first"]):
        git(tmp_path, *arguments)
    return tmp_path


def test_the_commit_is_told_and_a_tree_stays_clean_when_results_come(project: Path) -> None:
    write(project / "results" / "README.md", "# Results")
    assert git_state() == {"commit": git(project, "log", "--format=%H"), "clean": True}


@pytest.mark.parametrize("file", ["runner.py", "another.py"])
def test_a_file_that_is_changed_or_new_is_not_clean(project: Path, file: str) -> None:
    write(project / file, "print(1)")
    assert git_state()["clean"] is False


def test_a_project_without_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "PROJECT", tmp_path)
    with pytest.raises(UnreadableError, match="is no git repository"):
        git_state()


def test_a_machine_without_git_tells_no_commit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(UnreadableError, match="git is not installed"):
        git_state()


def test_a_git_that_fails_says_so_without_the_folder(project: Path) -> None:
    (project / ".git" / "HEAD").unlink()
    with pytest.raises(UnreadableError, match=r"^git status ended with exit code 128$"):
        git_state()
