"""Draws the rows as bars: to the right of the line if the required value is reached, to the left if it is not."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.harness import Row

WIDTH, LEFT, RIGHT, TOP, STEP = 760, 170, 80, 46, 26
LEAST, MOST = 0.1, 20.0  # multiples of the required value, on a logarithmic scale
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.faint { fill: #6e7781; font-size: 11px }
.grid { stroke: #d0d7de }
.line { stroke: #24292f; stroke-width: 1.5 }
.aim { stroke: #6e7781; stroke-width: 2 }
.reached { fill: #2da44e }
.short { fill: #d1570a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .faint { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .line { stroke: #e6edf3 }
  .aim { stroke: #9198a1 }
  .reached { fill: #3fb950 }
  .short { fill: #f0883e }
}
"""


def x(share: float) -> float:
    """The x coordinate of a multiple of the required value."""
    part = math.log(min(max(share, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def svg(rows: Sequence[tuple[Row, float]]) -> str:
    """The plot. rows: each with its median."""
    height = TOP + STEP * len(rows) + 30
    bottom = TOP + STEP * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Each figure beside what it must reach</title>",
        f"<style>{STYLE}</style>",
        f'<text x="{x(1):.0f}" y="18" text-anchor="middle">must reach</text>',
    ]
    for share in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20):
        kind = "line" if share == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{x(share):.0f}" y1="{TOP - 6}" x2="{x(share):.0f}" y2="{bottom}"/>')
        parts.append(f'<text class="faint" x="{x(share):.0f}" y="{TOP - 12}" text-anchor="middle">{share:g} ×</text>')
    for n, (row, value) in enumerate(rows):
        y, share, aim = TOP + STEP * n, row.share(value), row.share(row.aim)
        from_, to = sorted((x(1), x(share)))
        kind = "reached" if share >= 1 else "short"
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{kind}" x="{from_:.1f}" y="{y + 4}" width="{max(to - from_, 1):.1f}" height="{STEP - 9}"/>',
            f'<line class="aim" x1="{x(aim):.1f}" y1="{y + 2}" x2="{x(aim):.1f}" y2="{y + STEP - 3}"/>',
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 16}">{share:.2g} ×</text>',
        ]
    parts.append(f'<text class="faint" x="{LEFT}" y="{bottom + 20}">the short strokes: the aims</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
