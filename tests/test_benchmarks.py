"""The benchmarks run, and the histories they start from have the stated size, are valid and are reproducible."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import wire
from benchmarks import floors, plot, report
from benchmarks.harness import Figure
from benchmarks.history import batches, conversations, fill, history
from benchmarks.rows import ROWS
from support import log_sequence
from treadle.domain.events import MessageAppended, ThreadCreated, TurnStarted, encode
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.projections import SEARCHES, TABLES, verify
from treadle.store.sqlite.store import Store

BENCHMARKS = Path(__file__).parent / "benchmarks"


def test_every_benchmark_is_measured(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS, "--quick", "--here", "--work", tmp_path, "--peers", tmp_path / "none"],
        capture_output=True,
        text=True,
        timeout=3 * wire.PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:22].strip() for line in lines] == [row.name for row in ROWS]
    absent = [line[:22].strip() for line in lines if "not installed" in line]
    assert absent == ["codex: list", "codex: rename", "append: peers"]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "it leaves nothing behind"


def test_a_history_has_the_requested_number_of_events_and_threads() -> None:
    events = list(history(2_000, 90))
    assert len(events) == 2_000
    assert sum(isinstance(event, ThreadCreated) for event in events) == 90
    assert any(isinstance(event, MessageAppended) for event in events)


def test_a_history_is_the_same_for_the_same_seed() -> None:
    one, same, other = ([encode(event) for event in history(600, 30, seed=seed)] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_history_verifies_and_can_be_appended_to(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert fill(data_dir, history(3_000, 100)) == 3_000
    assert verify(data_dir / "treadle.db", tmp_path / "copy.db") == (3_000, [])

    async def next_sequence() -> int:
        store = await Store.open(data_dir)
        try:
            return await log_sequence(store) + 1
        finally:
            await store.close()

    assert asyncio.run(next_sequence()) == 3_001


def test_conversations_have_the_requested_number_of_turns() -> None:
    events = list(conversations({"long": 30, "short": 3}))
    turns = [event.thread_id for event in events if isinstance(event, TurnStarted)]
    assert turns == ["long"] * 30 + ["short"] * 3


def test_a_batch_is_a_thread_of_500_events() -> None:
    made = list(batches(3))
    assert [len(batch) for batch in made] == [500] * 3
    assert [len({event.thread_id for event in batch}) for batch in made] == [1] * 3


def test_the_plain_sqlite3_floor_writes_the_same_rows_as_treadle(tmp_path: Path) -> None:
    data_dir, plain, tables = tmp_path / "data", tmp_path / "plain.db", ("events", *TABLES, *SEARCHES)
    fill(data_dir, history(1_000, 50))
    seconds = list(floors.seconds_to_write(data_dir, tables, plain, 300, commits=True))
    assert len(seconds) == 4

    def rows(path: Path) -> dict[str, list[object]]:
        with closing(sqlite3.connect(path)) as db:
            for words in SEARCHES:
                db.execute(f"CREATE VIRTUAL TABLE temp.{words}_words USING fts5vocab (main, {words}, instance)")
            names = (*tables[: -len(SEARCHES)], *(f"{words}_words" for words in SEARCHES))
            return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}

    assert rows(plain) == rows(data_dir / FILE_NAME)


def test_a_benchmark_result_is_compared_with_its_target() -> None:
    more = next(row for row in ROWS if row.better == "≥")
    less = next(row for row in ROWS if row.better == "≤")
    assert more.reaches(more.reach, more.reach)
    assert not more.reaches(more.reach / 2, more.reach)
    assert less.reaches(less.reach, less.reach)
    assert not less.reaches(less.reach * 2, less.reach)
    assert (more.share(more.reach * 2), less.share(less.reach / 2)) == (2, 2)


def test_the_plot_shows_every_benchmark() -> None:
    shown = plot.svg([(row, row.reach) for row in ROWS])
    assert [row.name for row in ROWS if f">{row.name}<" not in shown] == []


def test_the_page_of_a_run_says_which_rows_are_newer_than_the_run() -> None:
    first, second = ROWS[:2]
    written = report.tables((first, second), {first.name: Figure([first.reach], "1 of 2")}).splitlines()
    assert written[2].startswith(f"| {first.name} |")
    assert written[3].endswith("| not measured: the row is newer than the run |")
    assert written[-1] == f"- {first.name}: 1 of 2"
