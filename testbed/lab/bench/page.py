"""The report as a page: tables and plots, without anything from the network."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from ..shell import run

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; color: #222; }
table { border-collapse: collapse; width: 100%; margin: 1em 0; }
th, td { text-align: left; padding: .3em .6em; border-bottom: 1px solid #ddd; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.met { color: #1b7837; } .missed { color: #b2182b; font-weight: 600; }
.failed { background: #fff3f0; padding: .6em 1em; border-left: 4px solid #b2182b; }
code { font-size: 12px; color: #555; word-break: break-all; }
svg { max-width: 100%; height: auto; }
pre { font-size: 13px; background: #f6f6f6; padding: .5em .8em; overflow-x: auto; }
details { font-size: 13px; } summary { color: #555; cursor: pointer; }
"""

PLOT = """
set terminal svg noenhanced size 960,{height} font 'sans,12' background '#ffffff'
set output '{svg}'
set title '{title}'
set style fill solid 0.8 noborder
set yrange [{count}-0.5:-0.5] noreverse
set xrange [{left}:{right}]
set xlabel '{unit}'
set grid xtics lc rgb '#dddddd'
unset key
set ytics ({tics})
{goal}
plot '{data}' using ($2/2):0:(abs($2)/2):(0.3) with boxxyerror lc rgb '#2166ac', \\
     '{data}' using 2:0:3:4 with xerrorbars lc rgb '#222222' pt 7 ps 0.4
"""

CUT = 4.0
"""Where the picture of all goals ends: what is so many times better than its goal is met, and that is all it is to say."""


def plot(work: Path, name: str, title: str, unit: str, rows: list[dict[str, Any]], goal: float | None = None) -> str:
    """Bars of the rows' medians with their ranges, as SVG."""
    data, svg = work / f"{name}.dat", work / f"{name}.svg"
    data.write_text("".join(f"{n} {row['value']} {row['spread']['min']} {row['spread']['max']}\n" for n, row in enumerate(rows)))
    # gnuplot formats what it writes at a tic: a percent sign stands for itself when it is doubled.
    tics = ", ".join(f"'{row['id'].replace('%', '%%')}' {n}" for n, row in enumerate(rows))
    line = f"set arrow from {goal},-0.5 to {goal},{len(rows) - 0.5} nohead dashtype 2 lc rgb '#b2182b' front" if goal is not None else ""
    least, most = min(row["spread"]["min"] for row in rows), max(row["spread"]["max"] for row in rows)
    left, right = min(0.0, 1.05 * least), max(0.0, 1.05 * most)
    right = right if right > left else 1.0
    run(["gnuplot"], stdin=PLOT.format(height=110 + 34 * len(rows), svg=svg, title=title, unit=unit, count=len(rows), tics=tics, goal=line, data=data, left=left, right=right))
    text = svg.read_text()
    return text[text.index("<svg") :]


def _of_goal(row: dict[str, Any]) -> dict[str, Any]:
    """The row as so many times its goal, or its goal as so many times the row where less is better: above 1 is met."""
    sign, bound = row["goal"].split()
    goal = float(bound)

    def part(value: float) -> float:
        if sign == ">=":
            return max(0.0, min(CUT, value / goal))
        return CUT if value <= 0 else min(CUT, goal / value)

    ends = sorted((part(row["spread"]["min"]), part(row["spread"]["max"])))
    return row | {"value": part(row["value"]), "spread": {"min": ends[0], "max": ends[1]}}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _row(row: dict[str, Any]) -> str:
    met = {True: '<span class="met">met</span>', False: '<span class="missed">missed</span>', None: ""}[row["met"]]
    spread, more = row["spread"], row.get("more", {})
    lines = "<br>".join(f"<code>{html.escape(name)}: {html.escape(str(value))}</code>" for name, value in more.items())
    notes = f"<details><summary>more</summary>{lines}</details>" if more else ""
    peer = f"<br>against {html.escape(row['peer'])}" if row["peer"] else ""
    cells = [
        f"<td><b>{html.escape(row['id'])}</b></td>",
        f"<td>{html.escape(row['what'])}{peer}{notes}</td>",
        f"<td class=n><b>{_number(row['value'])}</b> {html.escape(row['unit'])}</td>",
        f"<td class=n>{_number(spread['min'])} &ndash; {_number(spread['max'])}<br>{spread['repeats']} runs</td>",
        f"<td class=n>{html.escape(row['goal'])}</td><td>{met}</td>",
        f"<td><code>{html.escape(row['command'])}</code></td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def page(parts: list[dict[str, Any]], head: dict[str, Any], work: Path) -> str:
    """The whole page."""
    work.mkdir(parents=True, exist_ok=True)
    rows = [row for part in parts for row in part["rows"]]
    with_goal = [row for row in rows if row["met"] is not None]
    missed = [row["id"] for row in with_goal if not row["met"]]
    said = [f"<h1>Braid beside its peers</h1><p>{html.escape(head['when'])}, {html.escape(head['machine'])}. {len(with_goal) - len(missed)} of {len(with_goal)} goals met"]
    said.append(f"; missed: {', '.join(missed)}.</p>" if missed else ".</p>")
    if with_goal:
        axis = f"times the goal; less is better where the goal is an upper bound, which is turned over; cut at {CUT:.0f}"
        said.append(plot(work, "goals", "All goals: what reaches the line is met", axis, [_of_goal(row) for row in with_goal], 1.0))
    for part in parts:
        said.append(f"<h2>{html.escape(part['title'])}</h2><p><code>make bench PART={html.escape(part['part'])}</code></p>")
        if part["topology"]:
            said.append(f"<pre>{html.escape(part['topology'])}</pre>")
        trip = part.get("core_round_trip_ns")
        if trip:
            said.append(f"<p>Core to core and back, as it was last measured: {trip['median']:.0f} ns ({trip['min']:.0f} &ndash; {trip['max']:.0f}).</p>")
        if part["failed"]:
            said.append(f"<p class=failed>Not measured: {html.escape(part['failed'])}</p>")
        for unit in dict.fromkeys(row["unit"] for row in part["rows"] if row["met"] is None):
            alike = [row for row in part["rows"] if row["unit"] == unit and row["met"] is None]
            if len(alike) > 1:
                said.append(plot(work, f"{part['part']}-{unit}".replace("/", "-").replace(" ", "-"), f"{part['part']}: medians and ranges", unit, alike))
        if part["rows"]:
            head_row = "<tr><th>id<th>what<th>median<th>range<th>goal<th><th>command</tr>"
            said.append(f"<table>{head_row}{''.join(map(_row, part['rows']))}</table>")
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>Braid: benchmarks</title><style>{STYLE}</style>{''.join(said)}</html>\n"

