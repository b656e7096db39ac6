"""The checks of `treadle doctor` that concern agents: their configuration, what is left of them, their worktrees, and
the host."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from treadle.agents.config import BadConfig, read_agents, read_runner
from treadle.agents.orphans import left_behind
from treadle.server.host_lock import has_host, host_of
from treadle.server.services import RECORDS
from treadle.store.errors import StorageError
from treadle.store.sqlite.doctor import runner_of
from treadle.store.sqlite.environment import Finding
from treadle.store.sqlite.reader import reading
from treadle.workspace.thread_folders import FOLDER, worktree_folder


def examine_agents(data_dir: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """The findings of all checks of agents. files: where they are configured. Changes nothing. Raises OSError."""
    yield _configured(files)
    yield _left(data_dir)
    yield _worktrees(data_dir)
    yield _host(data_dir)


def _configured(files: Sequence[Path]) -> Finding:
    check = "agents.json"
    try:
        agents = read_agents(*files)
        read_runner(*files)
    except (BadConfig, OSError) as error:
        return Finding(check, "problem", f"no agent can start: {error}")
    for file in files:
        if file.exists() and file.stat().st_mode & 0o077:
            return Finding(check, "warning", f"others may read {file}, which may hold keys: chmod 600 {file}")
    return Finding(check, "ok", f"{len(agents)} agents")


def _left(data_dir: Path) -> Finding:
    try:
        runner = runner_of(data_dir)
    except StorageError as error:  # it is being restored
        return Finding("running agents", "warning", f"not looked at: {error}")
    left = len(left_behind(data_dir / RECORDS, runner.is_gone))
    if left:
        return Finding("running agents", "warning", f"{left} are of daemons that are gone: the next start ends them")
    return Finding("running agents", "ok", "each of a daemon that lives")


def _worktrees(data_dir: Path) -> Finding:
    check = "worktrees"
    try:
        with reading(data_dir) as reader:
            works = reader.read(lambda reads: reads.work(reads.threads_with_worktree()))
    except StorageError as error:
        return Finding(check, "warning", f"not looked at: {error}")
    places = {worktree_folder(data_dir, work.thread_id): work for work in works}
    folder = data_dir.resolve() / FOLDER
    there = set(folder.iterdir()) if folder.is_dir() else set[Path]()
    for place, work in places.items():
        discard = f"treadle worktree discard {work.thread_id}"
        if work.deleted and place in there:
            return Finding(check, "warning", f"{work.path} is of a deleted thread: {discard}")
        if not work.deleted and (place not in there or not any(place.iterdir())):
            return Finding(check, "warning", f"{work.path} is not there: {discard}")
    unknown = there - places.keys()
    if unknown:
        return Finding(
            check,
            "warning",
            f"{min(unknown)} was left half made: the next prompt of its thread removes it, or delete it",
        )
    return Finding(check, "ok", str(len(there)))


def _host(data_dir: Path) -> Finding:
    host = host_of(data_dir)
    if host is not None:
        return Finding(
            "host", "ok", f"process {host.pid} runs the agents of all daemons: `treadle host --stop` ends it"
        )
    if has_host(data_dir):
        return Finding(
            "host", "warning", "an unknown process holds its lock, so no daemon runs agents: end the process"
        )
    return Finding("host", "ok", "none runs")
