"""The picture: goodput over time, stacked by path, drawn by gnuplot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .shell import run
from .traffic import BIN_S, PathTraffic

SCRIPT = """
set terminal svg size 960,640 font 'sans,13' background '#ffffff'
set output '{svg}'
set multiplot layout 2,1 title 'One connection over two access networks (20 and 40 Mbit/s)'
set style fill solid 0.9 noborder
set ylabel 'goodput, Mbit/s'
set yrange [0:{top}]
set key outside right top
set grid ytics lc rgb '#dddddd'
{panels}
unset multiplot
"""

PANEL = """
set title '{title}'
set xlabel 'seconds'
set xrange [0:{seconds}]
set arrow 1 from 0,{limit} to {seconds},{limit} nohead dashtype 2 lc rgb '#444444'
set label 1 'both links: {limit:.1f}' at {seconds},{limit} right offset -0.5,0.6 textcolor rgb '#444444'
set arrow 2 from 0,{off} to {seconds},{off} nohead dashtype 3 lc rgb '#ffffff' front
set label 2 'bonding off: {off:.1f}' at {seconds},{off} right offset -0.5,0.6 textcolor rgb '#ffffff' front
plot '{data}' using 1:($2+$3) with filledcurves x1 lc rgb '#e08214' title 'access 2', \\
     '{data}' using 1:2 with filledcurves x1 lc rgb '#2166ac' title 'access 1'
"""


@dataclass(frozen=True)
class Panel:
    """One direction of the picture."""

    title: str
    paths: tuple[PathTraffic, PathTraffic]
    limit_mbps: float
    off_mbps: float
    """What one path alone carried, without bonding."""


def draw(svg: Path, panels: list[Panel]) -> None:
    """Writes the picture and, beside it, the data it is drawn from."""
    parts = []
    for number, panel in enumerate(panels):
        data = svg.with_name(f"goodput-{number}.dat")
        last = max((max(path.bins, default=0) for path in panel.paths), default=0)
        # The last bin is cut by the transfer's end: it would show a fall that is none.
        rows = [(index * BIN_S, *(path.mbps(index) for path in panel.paths)) for index in range(last)]
        data.write_text("".join(f"{at:.2f} {one:.3f} {two:.3f}\n" for at, one, two in rows))
        parts.append(PANEL.format(title=panel.title, data=data, limit=panel.limit_mbps, off=panel.off_mbps, seconds=max(1.0, (last - 1) * BIN_S)))
    top = max(panel.limit_mbps for panel in panels) * 1.25
    run(["gnuplot"], stdin=SCRIPT.format(svg=svg, top=top, panels="".join(parts)))
