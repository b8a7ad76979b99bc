"""What all tests share: closed network, folders of their own, and the rule that no tool may be skipped whole."""

import os
import random
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from frameworks import TOOLS
from harness.canary import Canary

if TYPE_CHECKING:
    from tests.browser import Browser

sys.dont_write_bytecode = True
_outcomes: dict[str, set[str]] = defaultdict(set)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many random nets each tool is tried on, and which."""
    parser.addoption("--random-nets", type=int, default=8, help="random nets a tool (default: %(default)s)")
    parser.addoption("--random-seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the nets")


def pytest_report_header(config: pytest.Config) -> str:
    """Print what repeats the random nets of this run."""
    count, first = config.getoption("random_nets"), config.getoption("random_seed")
    return f"random nets: --random-nets={count} --random-seed={first}"


@pytest.fixture(scope="session")
def random_nets(request: pytest.FixtureRequest) -> tuple[int, int]:
    """How many random nets, and the seed of the first."""
    return request.config.getoption("random_nets"), request.config.getoption("random_seed")


@pytest.fixture(autouse=True)
def closed_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that does not stay on this machine, except in the tests of real environments."""
    if "conformance" in request.keywords:
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"the network is closed in tests: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SAMENET_HOME, and no SAMENET_DATA."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SAMENET_HOME", str(folder))
    monkeypatch.delenv("SAMENET_DATA", raising=False)
    return folder


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries that take no time and find the machine always as fast, so that no cell is measured once more."""
    canary = Canary(gflops=100.0, others_pct=0.0, reason=None)
    monkeypatch.setattr("harness.session.release_canary", lambda cores: canary)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One window of a real browser for all tests of the page, which are skipped where there is none, but not in CI."""
    from tests.browser import find_browser, start_browser  # only the tests of the page need Selenium

    try:
        find_browser()
    except FileNotFoundError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of records of every kind."""
    from tests.pages import records_of_every_kind, write_page

    return write_page(tmp_path_factory.mktemp("page") / "index.html", records_of_every_kind())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note for each tool whether any of its tests ran."""
    report = yield
    tool = getattr(item, "callspec", None) and item.callspec.params.get("tool")
    if tool in TOOLS and (report.when == "call" or report.skipped):
        _outcomes[tool].add(report.outcome)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if every test of a tool was skipped."""
    skipped = sorted(tool for tool, outcomes in _outcomes.items() if outcomes == {"skipped"})
    if skipped:
        print(f"\nevery test was skipped of: {', '.join(skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
