"""Fixtures that several tests share."""

import fcntl
import os
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from checkouts import Checkout
from support import CHECKOUT, opened, output_of
from terminals import Terminal
from treadle.core.engine import Engine
from treadle.store.ports import DataDirectory
from treadle.store.sqlite.store import Store

if TYPE_CHECKING:
    from postgres import Cluster, Database


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[Store]:
    """An open store on an empty log."""
    async with opened(data_dir) as store:
        yield store


@pytest.fixture
async def engine(store: DataDirectory) -> AsyncIterator[Engine]:
    """An engine that takes commands, and does not linger."""
    engine = Engine(store, linger=0)
    engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[Path]]:
    """A folder that all workers of a run share; it is for one of them at a time."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    @contextmanager
    def alone() -> Iterator[Path]:
        with open(folder / "shared.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder

    return alone


@pytest.fixture(scope="session")
def wheel(shared: Callable[[], AbstractContextManager[Path]]) -> Path:
    """The wheel, built once in a run."""
    with shared() as folder:
        if not [*folder.glob("treadle-*.whl")]:
            pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
            output_of(*pip, "--wheel-dir", str(folder), str(CHECKOUT))
        [built] = folder.glob("treadle-*.whl")
        return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel in it; its dependencies are those of this one."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    output_of(sys.executable, "-m", "venv", "--without-pip", str(venv))
    python = venv / "bin" / "python"
    output_of(*(sys.executable, "-m", "pip", "--python", str(python), "install"), "--quiet", "--no-deps", str(wheel))
    [site] = venv.glob("lib/python*/site-packages")
    # A path in a .pth file is looked in, but .pth files in it are not read: the checkout cannot be imported.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without settings of git."""
    home = Path(os.path.realpath(tmp_path)) / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def app(home: Path) -> Checkout:
    """An empty repository."""
    return Checkout(home / "app", home)


@pytest.fixture
def part(home: Path) -> Checkout:
    """A repository of which the folder `part` is the project's."""
    return Checkout(home / "app", home, "part")


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Terminals that are closed after the test."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """A PostgreSQL server, for all tests of this process."""
    from postgres import running_cluster

    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: "Cluster", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Database"]:
    """An empty database, which libpq finds by the services of tests/postgres.py."""
    from postgres import Database

    made = Database(cluster, f"d{uuid4().hex}", tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.drop()
