"""Bytes: what is erased is in no file of the data directory, whatever happens meanwhile."""

from pathlib import Path

from support import opened


async def test_deleted_content_is_overwritten_on_every_connection_that_writes(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        assert await store.writer.call(lambda db: db.execute("PRAGMA secure_delete").fetchone()) == (1,)
