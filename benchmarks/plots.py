"""Plots of the results; ours is highlighted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

# Before pyplot is imported, which otherwise may look for a display.
matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .clients import BARE, OURS, READER, TUNED
from .measures import path
from .report import number
from .result import Result

OUR_COLOUR = "#c2410c"
BARE_COLOUR = "#1f6f8b"
OTHER_COLOUR = "#9aa5ae"
LINE_COLOURS = ("#1f6f8b", "#7a9a3a", "#6b4c9a", "#b08900", "#5f6b73", "#3c8d7d")
PART_COLOURS = {
    "encode": "#1f6f8b",
    "frame": "#5aa3ba",
    "before": "#a9d0dc",
    "send": "#8a8f94",
    "wait": "#dcdfe2",
    "read": "#f0b27a",
    "decode": "#dd7a3b",
    "after": "#a84a14",
}
WIDTH = 10.0
IN_A_ROW = 3
DPI = 110


def draw(folder: Path, results: Mapping[str, Result]) -> list[Path]:
    """Draw a picture for each group of measures with results, and return the files."""
    pyplot.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.axisbelow": True,
        }
    )
    drawn = []
    for name, (needs, picture) in PICTURES.items():
        here = {need: results[need] for need in needs if need in results and results[need].rows}
        if here:
            figure = picture(here)
            figure.tight_layout()
            drawn.append(folder / f"{name}.png")
            figure.savefig(drawn[-1], dpi=DPI)
            pyplot.close(figure)
    return drawn


def _row_of(count: int, height: float, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    figure, axes = pyplot.subplots(1, count, figsize=(width, height), squeeze=False)
    return figure, list(axes[0])


def _bars(axes: Axes, result: Result, key: str, title: str, *, best_first: bool = False) -> None:
    """Draw a bar for each row, labelled with its figure; the best is at the top."""
    rows = sorted((row[key], name) for name, row in result.rows.items() if key in row)
    if not best_first:
        rows.reverse()
    names = [name for _, name in rows]
    values = [value for value, _ in rows]
    drawn = axes.barh(names, values, color=[_colour(name) for name in names], height=0.7)
    axes.bar_label(drawn, [number(value) for value in values], padding=3, fontsize=8)
    axes.set_xlim(0, max(values) * 1.18 or 1)
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.25)
    for label in axes.get_yticklabels():
        if _is_ours(label.get_text()):
            label.set_fontweight("bold")


def _colour(name: str) -> str:
    if _is_ours(name):
        return OUR_COLOUR
    return BARE_COLOUR if name in (BARE, TUNED, READER) or name == "import websocket" else OTHER_COLOUR


def _is_ours(name: str) -> bool:
    return OURS in name


def _lines(axes: Axes, result: Result, title: str, label: Callable[[int], str]) -> None:
    """Draw a line for each row over its keys, which are numbers."""
    colours = iter(LINE_COLOURS)
    keys: list[str] = []
    for name, row in result.rows.items():
        keys = sorted(row, key=int)
        ours = _is_ours(name)
        style: dict[str, Any] = {"color": OUR_COLOUR if ours else next(colours), "linewidth": 2.4 if ours else 1.3}
        axes.plot(range(len(keys)), [row[key] for key in keys], marker="o", markersize=4, label=name, **style)
    axes.set_xticks(range(len(keys)), [label(int(key)) for key in keys])
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.margins(y=0.12)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _growth(axes: Axes, result: Result, key: str, title: str, xlabel: str) -> None:
    """Draw one figure over the levels."""
    rows = result.rows
    values = [row[key] for row in rows.values()]
    axes.plot(range(len(rows)), values, marker="o", color=OUR_COLOUR, linewidth=2)
    for place, value in enumerate(values):
        axes.annotate(number(value), (place, value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(range(len(rows)), [f"{int(name):,}".replace(",", " ") for name in rows])
    # From zero: a cut axis would make a flat line look steep.
    axes.set_ylim(0, max(values) * 1.25)
    axes.margins(x=0.12)
    axes.set(xlabel=xlabel, title=title)
    axes.grid(alpha=0.25)


# -- the pictures ----------------------------------------------------------------------------------------------------


def _calls(results: Mapping[str, Result]) -> Figure:
    figure, axes = pyplot.subplots(len(results), 2, figsize=(WIDTH, 3.0 * len(results)), squeeze=False)
    for (left, right), (name, result) in zip(axes, results.items(), strict=True):
        over = "TLS" if name == "tls" else "TCP"
        _bars(left, result, "p50", f"One blocking call over {over}: p50, µs (less is better)")
        _bars(right, result, "cpu", f"CPU of the calling process for it over {over}, µs")
    return figure


def _rates(results: Mapping[str, Result]) -> Figure:
    titles = {"in_flight": "1 000 calls in flight, calls/s", "events_in": "Events in, events/s"}
    titles["events_out"] = "Events out, events/s"
    figure, axes = pyplot.subplots(len(results), 1, figsize=(WIDTH, 2.6 * len(results)), squeeze=False)
    for (place,), (name, result) in zip(axes, results.items(), strict=True):
        _bars(place, result, "rate", f"{titles[name]} (more is better)", best_first=True)
    return figure


def _large(results: Mapping[str, Result]) -> Figure:
    figure, (axes,) = _row_of(1, 4.2)
    _lines(axes, results["large"], "Large payloads, there and back, MB/s (more is better)", _size)
    axes.set_yscale("log")
    axes.set(xlabel="size of the payload", ylabel="MB/s, log scale")
    return figure


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _threads(results: Mapping[str, Result]) -> Figure:
    figure, (axes,) = _row_of(1, 3.6)
    _lines(axes, results["threads"], "Threads that call at once on one connection, calls/s (more is better)", str)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="calling threads", ylabel="calls/s")
    return figure


def _footprint(results: Mapping[str, Result]) -> Figure:
    figure, axes = _row_of(len(results), 3.0, 1.0 + 4.4 * len(results))
    titles = {
        "idle_memory": ("held", "An idle connection besides stacks, KiB"),
        "pending_memory": ("held", "A pending call, KiB"),
        "imports": ("import", "Imports, ms"),
    }
    for place, (name, result) in zip(axes, results.items(), strict=True):
        key, title = titles[name]
        _bars(place, result, key, f"{title} (less is better)")
    return figure


def _grows(results: Mapping[str, Result]) -> Figure:
    panels = {
        "pending": [("cpu", "A call: CPU, µs", "calls that are pending")],
        "observed": [("cpu", "An event: CPU, µs", "names that are observed")],
        "queue": [
            ("first", "consume(), µs", "messages in the queue"),
            ("match", "consume(filter), the first fits, µs", "messages in the queue"),
            ("each", "consume(filter): for each it skips, ns", "messages that it skips"),
        ],
    }
    plotted = [(result, *panel) for name, result in results.items() for panel in panels[name]]
    rows = -(-len(plotted) // IN_A_ROW)
    figure, axes = pyplot.subplots(rows, IN_A_ROW, figsize=(3.8 * IN_A_ROW, 2.9 * rows), squeeze=False)
    for place in axes.flat[len(plotted) :]:
        place.set_visible(False)
    for place, (result, key, title, xlabel) in zip(axes.flat, plotted, strict=False):
        _growth(place, result, key, title, xlabel)
    return figure


def _crowd(results: Mapping[str, Result]) -> Figure:
    rows = results["crowd"].rows
    figure, (axes,) = _row_of(1, 3.0, 11.5)
    names, places = list(rows), range(len(rows))
    for offset, key, colour in ((-0.2, "p50", OUR_COLOUR), (0.2, "p99", OTHER_COLOUR)):
        values = [row[key] for row in rows.values()]
        drawn = axes.bar([place + offset for place in places], values, 0.38, color=colour, label=key)
        axes.bar_label(drawn, [number(value) for value in values], padding=2, fontsize=8)
    axes.set_xticks(places, names)
    axes.set(ylabel="µs", title="One blocking call beside idle connections in the same process, µs")
    axes.margins(y=0.15)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _path(results: Mapping[str, Result]) -> Figure:
    rows = results["path"].rows
    names = list(rows)[::-1]
    figure, (axes,) = _row_of(1, 3.6)
    lefts = [0.0] * len(names)
    for key, colour in PART_COLOURS.items():
        values = [max(0.0, rows[name].get(key, 0.0)) for name in names]
        label = path.COLUMNS[key].removesuffix(", µs")
        drawn = axes.barh(names, values, left=lefts, color=colour, label=label, height=0.62)
        most = max(rows[name]["whole"] for name in names)
        shown = [number(value) if value > most * 0.04 else "" for value in values]
        axes.bar_label(drawn, shown, label_type="center", fontsize=7.5)
        lefts = [left + value for left, value in zip(lefts, values, strict=True)]
    axes.set(xlabel="µs, medians", title="Where the time of one call goes")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(ncols=4, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.18))
    return figure


Picture = Callable[[Mapping[str, Result]], Figure]
PICTURES: dict[str, tuple[tuple[str, ...], Picture]] = {
    "calls": (("latency", "tls"), _calls),
    "rates": (("in_flight", "events_in", "events_out"), _rates),
    "large": (("large",), _large),
    "threads": (("threads",), _threads),
    "path": (("path",), _path),
    "footprint": (("idle_memory", "pending_memory", "imports"), _footprint),
    "growth": (("pending", "observed", "queue"), _grows),
    "crowd": (("crowd",), _crowd),
}
