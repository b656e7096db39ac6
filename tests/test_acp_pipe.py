"""`treadle acp` between a program and what starts it: no byte, signal, status or descriptor is different."""

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acp_editor import behind, processes_of, wait_for_end
from wire import PATIENCE

PYTHON = (sys.executable, "-c")
CAT = ("cat",)

LINES = {
    "invalid JSON": b'{"jsonrpc":\n}\n]\n\n{"a":"\xff\xfe"}\n',
    "an array": b'[{"jsonrpc":"2.0","id":1,"method":"initialize"}, 1, null]\n',
    "no line feed at the end": b'{"jsonrpc":"2.0","id":1,"method":"initialize"}',
    "carriage returns": b'{"jsonrpc":"2.0"}\r\n\r\n',
    "deep": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "strange members": b'{"jsonrpc":"2.0","id":{"a":[]},"method":7,"params":"x"}\n{"id":[],"result":3}\n{}\n',
    "a strange session": b'{"method":"session/prompt","id":1,"params":{"sessionId":"\\u0000\\ud800","prompt":3}}\n',
    "binary": random.Random(1).randbytes(3_000_000),
    "a line of 20 MB": b'{"jsonrpc":"2.0","method":"' + b"x" * 20_000_000 + b'"}\n',
    "nothing": b"",
}


def outcome(command: Sequence[str], given: bytes = b"", **options: Any) -> tuple[int, bytes, bytes]:
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def started(command: Sequence[str], **options: Any) -> Any:
    """A process with pipes."""
    return subprocess.Popen(command, **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options})


@pytest.mark.parametrize("given", LINES.values(), ids=LINES)
def test_every_byte_passes_in_both_directions(data_dir: Path, given: bytes) -> None:
    assert outcome(behind(data_dir, CAT), given) == outcome(CAT, given) == (0, given, b"")
    wait_for_end(data_dir)


@pytest.mark.parametrize(
    "script",
    [
        "wc -c; echo said >&2; exit 3",  # says something after the end of its input
        "exec >&-; wc -c >&2; exit 4",  # closes its output and reads on
        "exec <&-; seq 100000; exit 5",  # closes its input
        "kill -TERM $$",
        "kill -KILL $$",
        "kill -SEGV $$",
        "head -c 1 > /dev/null; exit 6",  # leaves input unread
    ],
)
def test_an_agent_ends_as_it_would_without(data_dir: Path, script: str) -> None:
    agent = ("sh", "-c", script)
    given = b"some input\n" * 5
    assert outcome(behind(data_dir, agent), given) == outcome(agent, given)
    wait_for_end(data_dir)


LOOK = """
import json, os, signal, sys
print(json.dumps({
    "environment": {name: value for name, value in os.environ.items() if name != "_"},
    "folder": os.getcwd(), "parent": os.getppid(), "is_leader": os.getpid() == os.getpgrp(), "session": os.getsid(0),
    "arguments": sys.argv, "umask": os.umask(0), "nice": os.nice(0),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")),
}))
"""


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8", "PYTHONPATH": "/nowhere"}])
@pytest.mark.parametrize("own_group", [False, True])
def test_an_agent_finds_what_it_would_find_without(
    data_dir: Path, tmp_path: Path, env: dict[str, str], own_group: bool
) -> None:
    agent = ("/usr/bin/env", sys.executable, "-I", "-c", LOOK, "a b", "--", "ü", "--agent")
    options: Any = {"env": {"PATH": os.environ["PATH"], **env}, "cwd": tmp_path}
    options |= {"process_group": 0} if own_group else {}
    direct, through = (json.loads(outcome(command, **options)[1]) for command in (agent, behind(data_dir, agent)))
    assert through == direct


def test_an_agent_inherits_the_signals_that_it_would_inherit_without(data_dir: Path) -> None:
    agent = ("grep", "Sig[BI]", "/proc/self/status")
    status, direct, _ = outcome(agent)
    assert status == 0
    assert outcome(behind(data_dir, agent))[1] == direct


def test_the_process_that_was_started_is_the_agent(data_dir: Path) -> None:
    with started(behind(data_dir, ("sh", "-c", "echo $$; cat"))) as process:
        assert process.stdout.readline() == b"%d\n" % process.pid
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1]
TRAP = "trap 'echo told; exit 7' INT TERM HUP USR1; echo ready; while :; do read -r line; done"


@pytest.mark.parametrize("agent", [("sh", "-c", "echo ready; exec cat"), ("sh", "-c", TRAP)], ids=["cat", "handler"])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_reaches_the_agent(data_dir: Path, agent: Sequence[str], number: int, whole_group: bool) -> None:
    def ended(command: Sequence[str]) -> tuple[int, bytes]:
        with started(command, process_group=0) as process:
            assert process.stdout.readline() == b"ready\n"
            if whole_group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            return process.wait(PATIENCE), process.stdout.read()

    assert ended(behind(data_dir, agent)) == ended(agent)
    wait_for_end(data_dir)


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
def test_a_program_that_cannot_be_started_is_named(data_dir: Path, program: str) -> None:
    status, out, error = outcome(behind(data_dir, [program]))
    assert (status, out) == (127 if program == "no-such-program" else 126, b"")
    assert error.startswith(f"treadle: {program} cannot be started: ".encode())
    wait_for_end(data_dir)
    assert not data_dir.exists()


def test_without_a_program_the_usage_is_explained(data_dir: Path) -> None:
    status, _, error = outcome(behind(data_dir, []))
    assert status == 2
    assert b"the agent's command and its arguments follow `--`" in error


def test_the_end_of_the_editor_ends_the_agent_and_all_that_is_ours(data_dir: Path) -> None:
    talks = "import time\nwhile True: print('x', flush=True); time.sleep(0.01)"
    process = started(behind(data_dir, (*PYTHON, talks)), stderr=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"x\n"
        process.stdin.close()
        process.stdout.close()
        assert b"BrokenPipeError" in process.stderr.read()
    wait_for_end(data_dir)


def test_when_the_pipe_is_killed_both_sides_see_the_end_of_the_other(data_dir: Path) -> None:
    with started(behind(data_dir, ("sh", "-c", "echo ready; cat; exit 8"))) as process:
        assert process.stdout.readline() == b"ready\n"
        for pid in processes_of(data_dir):
            os.kill(pid, signal.SIGKILL)
        assert process.stdout.read() == b""
        assert process.wait(PATIENCE) == 8


def test_an_agent_that_reads_slowly_stops_the_editor_and_gets_all(data_dir: Path) -> None:
    waits = "import os, sys\nos.read(2, 1); data = sys.stdin.buffer.read(); print(len(data))"
    hold, release = os.pipe()
    with started(behind(data_dir, (*PYTHON, waits)), stderr=hold) as process:
        os.close(hold)
        descriptor = process.stdin.fileno()
        os.set_blocking(descriptor, False)
        written = 0
        while select.select([], [descriptor], [], 1)[1]:
            written += os.write(descriptor, b"x" * 4096)
            assert written < 2_000_000
        os.close(release)
        os.set_blocking(descriptor, True)
        process.stdin.write(b"y" * 3_000_000)
        process.stdin.close()
        assert process.stdout.read() == b"%d\n" % (written + 3_000_000)
        assert process.wait(PATIENCE) == 0
    wait_for_end(data_dir)


def test_an_editor_that_reads_slowly_stops_the_agent_and_gets_all(data_dir: Path, tmp_path: Path) -> None:
    writes = (
        "import os, sys\nn = 0\nos.set_blocking(1, False)\nimport select\n"
        "while select.select([], [1], [], 1)[1]: n += os.write(1, b'x' * 4096)\n"
        "sys.stderr.write(str(n))"
    )
    with started(behind(data_dir, (*PYTHON, writes)), stderr=subprocess.PIPE) as process:
        written = int(process.stderr.read())  # it ends without being read
        assert 0 < written < 2_000_000
        assert process.wait(PATIENCE) == 0
        assert len(process.stdout.read()) == written
    wait_for_end(data_dir)


def test_in_a_terminal_the_agent_has_the_terminal(data_dir: Path) -> None:
    ours, theirs = os.openpty()
    command = behind(data_dir, ("sh", "-c", "test -t 0 && test -t 1 && exit 9"))
    with started(command, stdin=theirs, stdout=theirs) as process:
        assert process.wait(PATIENCE) == 9
    os.close(ours)
    os.close(theirs)
    assert not data_dir.exists()


@pytest.mark.parametrize("kind", ["a file", "a folder that does not exist in a file"])
def test_a_data_directory_that_cannot_exist_changes_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    data_dir = tmp_path / "file" if kind == "a file" else tmp_path / "file" / "data"
    given = LINES["binary"]
    assert outcome(behind(data_dir, CAT), given) == (0, given, b"")
