"""Measures how fast treadle is, relative to floors and peers that are measured alternately in the same run.

    python tests/benchmarks [--quick] [--only ROW …] [--peers DIR]

prints a row for each figure. A whole run also writes docs/benchmarks.md. It measures the wheel that is built from the
checkout, with its byte code, in its own environment in .bench/.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.harness import QUICK, ROOT, WORK, Absent, Bench, Figure, Sizes
from benchmarks.rows import ROWS


def installed() -> Path:
    """Install the wheel of this source in the environment if necessary; return the environment's Python."""
    source = hashlib.sha256()
    for path in sorted([ROOT / "pyproject.toml", *(ROOT / "daemon").rglob("*.py"), *(ROOT / "sql").rglob("*.sql")]):
        source.update(f"{path.relative_to(ROOT)}\0{path.read_text()}\0".encode())
    venv, stamp = WORK / "venv", WORK / "venv" / "source"
    python = venv / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != source.hexdigest():
        print("installing the wheel", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip: list[str | Path] = [python, "-m", "pip", "-qq", "--disable-pip-version-check"]
        # pytest: tests/postgres.py imports it
        subprocess.run([*pip, "install", "--compile", f"{ROOT}[postgres]", "pytest"], check=True)
        stamp.write_text(source.hexdigest())
    return python


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure treadle beside floors and peers.")
    names = [row.name for row in ROWS]
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, and no more")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help="; ".join(names))
    parser.add_argument("--peers", type=Path, default=WORK / "peers", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--import-mb", type=float, metavar="MB", help="size of the history of the import rows")
    parser.add_argument("--here", action="store_true", help="measure the treadle of this Python, not the wheel")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="on a real disk; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="write the page anew from the last whole run, and end")
    options = parser.parse_args()
    if options.write:
        report.write(ROWS)
        return 0
    if not options.here:
        WORK.mkdir(exist_ok=True)
        python = installed()
        arguments = [python, Path(__file__).parent, *sys.argv[1:], "--here"]
        os.execv(python, list(map(str, arguments)))

    work = options.work / f"run-{os.getpid()}"
    work.mkdir(parents=True)
    sizes = QUICK if options.quick else Sizes()
    if options.import_mb:
        sizes = replace(sizes, imported=options.import_mb)
    bench = Bench(sizes, options.peers, work)
    rows = [row for row in ROWS if row.name in options.only]
    found: dict[str, Figure | Absent] = {}
    began = time.monotonic()
    try:
        for row in rows:
            if row.name not in found:
                found |= row.measure(bench)
            print(report.line(row, found[row.name]), flush=True)
    finally:
        shutil.rmtree(work)
    print(f"{len(rows)} rows in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if rows == list(ROWS) and not options.quick:
        report.keep(found, bench.sizes.rounds)
        report.write(ROWS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
