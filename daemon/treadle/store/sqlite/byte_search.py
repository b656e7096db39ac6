"""Counts byte strings in all files of a data directory. A program of its own: `python -I -S byte_search.py`.

It is not part of the daemon, because closing a file of the database drops SQLite's locks for the whole process. stdin
has a JSON object: `folder`, `skipped` (names of folders in it that are left out), `database`, `threadId` of the thread
that was erased, and `samples` as hexadecimal text, so that no list of processes shows them. stdout has `files`, `hits`,
`found` (names of files with hits), and `shared`: how many samples other threads have as well, which prove nothing and
do not count.
"""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

CHUNK = 1 << 20


def main() -> None:
    wanted = json.load(sys.stdin)
    os.nice(10)
    folder, database = Path(wanted["folder"]), Path(wanted["database"])
    samples = [bytes.fromhex(sample) for sample in wanted["samples"]]
    counts: dict[bytes, dict[str, int]] = {}
    files = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in wanted["skipped"] or path.is_symlink() or not path.is_file():
            continue
        try:
            for sample, count in counted(path, samples).items():
                counts.setdefault(sample, {})[str(name)] = count
            files += 1
        except FileNotFoundError:
            pass  # it was removed meanwhile
    shared = samples_of_others(database, wanted["threadId"], list(counts)) if counts else set()
    found: dict[str, int] = {}
    for sample, by_file in counts.items():
        for file, count in by_file.items() if sample not in shared else ():
            found[file] = found.get(file, 0) + count
    result = {"files": files, "hits": sum(found.values()), "found": sorted(found), "shared": len(shared)}
    json.dump(result, sys.stdout)


def counted(path: Path, samples: list[bytes]) -> dict[bytes, int]:
    """How often each sample is in the file; those that are not are left out."""
    overlap = max(map(len, samples), default=1) - 1
    found: dict[bytes, int] = {}
    kept = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            data = kept + chunk
            for sample in samples:
                # What lies in what was kept was counted before.
                if count := data.count(sample) - kept.count(sample):
                    found[sample] = found.get(sample, 0) + count
            kept = data[-overlap:] if overlap else b""
    return found


def samples_of_others(database: Path, thread_id: str, samples: list[bytes]) -> set[bytes]:
    """The samples that events of other threads have."""
    others: set[bytes] = set()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        db.text_factory = bytes
        rows = db.execute("SELECT payload FROM events WHERE thread_id IS NOT ?", (thread_id,))
        while page := rows.fetchmany(1000):
            text = b"\0".join(payload for (payload,) in page)
            others |= {sample for sample in samples if sample in text}
    return others


if __name__ == "__main__":
    main()
