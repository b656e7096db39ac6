"""An upgrade: this treadle opens a data directory with the first released schema."""

import asyncio
import gzip
import sys
from pathlib import Path

from treadle.client import connect
from treadle.domain import commands as c

OLD_DATABASE = Path(__file__).parents[1] / "fixtures" / "001.db.gz"


async def test_an_old_data_directory_is_opened_searched_and_continued(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    database = data_dir / "treadle.db"
    database.write_bytes(gzip.decompress(OLD_DATABASE.read_bytes()))
    database.chmod(0o600)

    async with connect(data_dir) as client:
        before = await client.event_list(limit=500)
        assert before.items, "the old log can be read"
        threads = await client.thread_list()
        assert threads.items, "and so can its threads"
        added = await client.dispatch(c.CreateProject(id="new", name="New", path="/new"))
        assert added.events[0].sequence > before.items[-1].sequence

    verify = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "treadle", "verify", "--data-dir", str(data_dir)
    )
    assert await verify.wait() == 0
