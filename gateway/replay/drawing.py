"""Pictures of runs of one workload, one file each: who finished when, who was later than where, and how it came about.

Needs matplotlib (the extra `figures`), which is only imported here and only when something is drawn.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from gateway.replay.records import RunRecord

# Okabe and Ito's colours, which most colour-blind readers can tell apart; ours is the strongest.
_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "justitia": "#D55E00",
        "vtc": "#0072B2",
        "fcfs": "#555555",
        "app-fcfs": "#999999",
        "sjf": "#CC79A7",
        "las": "#56B4E9",
        "srjf": "#009E73",
    }
)
_DASHES = ("-", "--", ":", "-.")
"""For several runs under one policy."""


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(records: Sequence[RunRecord], folder: Path, title: str = "") -> list[Path]:
    """Write every picture that these records allow; answers the files. Raises OSError if they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    vtc = next((record for record in records if record.policy == "vtc"), None)
    pictures: dict[str, Callable[[Any], None]] = {
        "completion_times": lambda axes: _completion_times(axes, records),
        "kinds": lambda axes: _kinds(axes, records),
        "lateness_to_gps": lambda axes: _lateness_to_gps(axes, records),
    }
    if vtc is not None:
        others = [record for record in records if record is not vtc]
        if others:
            pictures["lateness_to_vtc"] = lambda axes: _lateness_to_vtc(axes, others, vtc)
    timed = [record for record in records if record.moments]
    if timed:
        pictures["lag"] = lambda axes: _lag(axes, timed)
    files = [_written(folder / f"{name}.png", title, 1, [picture]) for name, picture in pictures.items()]
    if timed:
        numbers = {number for record in timed for moment in record.moments for number in moment.service}
        colours = {number: f"C{place}" for place, number in enumerate(sorted(numbers, key=int))}
        panels = [partial(_service, record=record, colours=colours) for record in timed]
        files.append(_written(folder / "service.png", title, len(panels), panels))
    return files


def _written(path: Path, title: str, num_panels: int, panels: Sequence[Callable[[Any], None]]) -> Path:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    width = 7.5 if num_panels == 1 else 4.2 * num_panels
    figure, grid = pyplot.subplots(
        1, num_panels, figsize=(width, 4.2), squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    for axes, panel in zip(grid[0], panels, strict=True):
        panel(axes)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})  # the same picture, the same bytes
    pyplot.close(figure)
    return path


def _styles(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    styles = []
    for record in records:
        number = seen[record.policy] = seen.get(record.policy, -1) + 1
        styles.append(
            {
                "color": _COLOURS.get(record.policy, "black"),
                "linestyle": _DASHES[number % len(_DASHES)],
                "linewidth": 2.4 if record.policy == "justitia" and not number else 1.4,
                "zorder": 3 if record.policy == "justitia" else 2,
                "label": record.label,
            }
        )
    return styles


def _completion_times(axes: Any, records: Sequence[RunRecord]) -> None:
    for record, style in zip(records, _styles(records), strict=True):
        shares = [100 * (rank + 1) / len(record.jct_s) for rank in range(len(record.jct_s))]
        axes.step(sorted(record.jct_s), shares, where="post", **style)
    axes.set(xscale="log", xlabel="completion time, s (log)", ylabel="applications finished, %", ylim=(0, 101))
    axes.set_title("Completion times", loc="left", fontsize=11)
    axes.legend(loc="lower right", fontsize=8)


def _kinds(axes: Any, records: Sequence[RunRecord]) -> None:
    mean_by_kind = {
        kind: fmean(jct for other, jct in zip(records[0].kinds, records[0].jct_s, strict=True) if other == kind)
        for kind in set(records[0].kinds)
    }
    kinds = sorted(mean_by_kind, key=mean_by_kind.__getitem__)
    width = 0.8 / len(records)
    for place, (record, style) in enumerate(zip(records, _styles(records), strict=True)):
        means = [
            fmean(jct for other, jct in zip(record.kinds, record.jct_s, strict=True) if other == kind) for kind in kinds
        ]
        hatch = "" if style["linestyle"] == "-" else "///"
        at = [index - 0.4 + width * (place + 0.5) for index in range(len(kinds))]
        axes.bar(at, means, width, color=style["color"], label=style["label"], hatch=hatch, edgecolor="white")
    counts = {kind: sum(1 for _ in group) for kind, group in groupby(sorted(records[0].kinds))}
    axes.set_xticks(range(len(kinds)), [f"{kind}\n({counts[kind]})" for kind in kinds], fontsize=7, rotation=30)
    axes.set(ylabel="mean completion time, s")
    axes.set_title("By kind (how many)", loc="left", fontsize=11)
    axes.legend(fontsize=8, ncols=2)


def _lateness_to_vtc(axes: Any, records: Sequence[RunRecord], vtc: RunRecord) -> None:
    for record, style in zip(records, _styles(records), strict=True):
        ratios = sorted(mine / its for mine, its in zip(record.jct_s, vtc.jct_s, strict=True))
        axes.plot(_percent(len(ratios)), ratios, **style)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(yscale="log", xlabel="applications, % (sorted)", ylabel="completion time / that under vtc (log)")
    axes.set_title("Earlier (below 1) or later than under vtc", loc="left", fontsize=11)
    axes.legend(fontsize=8)


def _lateness_to_gps(axes: Any, records: Sequence[RunRecord]) -> None:
    for record, style in zip(records, _styles(records), strict=True):
        late = sorted(value / 1e6 for value in record.lateness_to_gps)
        axes.plot(_percent(len(late)), late, **style)
    ours = next((record for record in records if record.policy == "justitia"), records[0])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(ours.delay_bound / 1e6, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(f"2·M·D ({ours.label})", (0, ours.delay_bound / 1e6), fontsize=7, va="bottom")
    axes.set(xlabel="applications, % (sorted)", ylabel="million token·iterations")
    axes.set_title("Earlier (below 0) or later than in GPS", loc="left", fontsize=11)
    axes.legend(fontsize=8)


def _lag(axes: Any, records: Sequence[RunRecord]) -> None:
    for record, style in zip(records, _styles(records), strict=True):
        axes.plot([m.at_s for m in record.moments], [m.worst_lag / 1e6 for m in record.moments], **style)
    axes.set(xlabel="time, s", ylabel="million token·iterations")
    axes.set_title("Largest lag of any application (GPS service less real service)", loc="left", fontsize=11)
    axes.legend(fontsize=8)


def _service(axes: Any, record: RunRecord, colours: Mapping[str, str]) -> None:
    """One colour an application, the same in every panel."""
    for number, colour in colours.items():
        points = [(m.at_s, max(1, m.service[number])) for m in record.moments if number in m.service]
        # A dot for one that was there at a single moment only.
        marker = "." if len(points) == 1 else None
        axes.plot([at_s for at_s, _ in points], [had for _, had in points], color=colour, marker=marker, linewidth=1.2)
    axes.set(xlabel="time, s", ylabel="service, token·iterations (log)", yscale="log", ylim=(1e3, None))
    axes.set_title(record.label, loc="left", fontsize=11)


def _percent(count: int) -> list[float]:
    return [100 * (rank + 0.5) / count for rank in range(count)]
