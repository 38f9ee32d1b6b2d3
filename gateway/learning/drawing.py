"""Pictures of predictions: predicted against true costs. Needs matplotlib (the extra `figures`)."""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(examples: Sequence[Any], quantiles: Any, folder: Path) -> list[Path]:
    """`examples`: the package `predictor`'s; `quantiles`: (n, 3) of log cost, as predicted. Answers the files. Raises
    OSError if they cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    by_kind: dict[str, list[tuple[float, list[float]]]] = {}
    for example, (low, middle, high) in zip(examples, quantiles, strict=True):
        costs = [math.exp(each) for each in (low, middle, high)]
        by_kind.setdefault(example.features.kind, []).append((example.cost, costs))
    pictures = {"predicted": lambda axes: _predicted(axes, by_kind), "errors": lambda axes: _errors(axes, by_kind)}
    return [_written(folder / f"{name}.png", picture) for name, picture in pictures.items()]


def _predicted(axes: Any, by_kind: dict[str, list[tuple[float, list[float]]]]) -> None:
    for number, (kind, points) in enumerate(sorted(by_kind.items())):
        true = [cost for cost, _ in points]
        middles = [costs[1] for _, costs in points]
        lows, highs = ([abs(costs[1] - costs[end]) for _, costs in points] for end in (0, 2))
        axes.errorbar(
            true, middles, yerr=[lows, highs], fmt="none", ecolor=f"C{number % 10}", alpha=0.12, linewidth=0.8
        )
        axes.plot(true, middles, _MARKS[number // 10 % len(_MARKS)], color=f"C{number % 10}", markersize=3, label=kind)
    ends = [cost for points in by_kind.values() for cost, _ in points]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="black", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="true cost, token·iterations")
    axes.set_ylabel("predicted at the first call, with its interval")
    axes.legend(fontsize=7, ncols=2, markerscale=2)


def _errors(axes: Any, by_kind: dict[str, list[tuple[float, list[float]]]]) -> None:
    """One line a kind: which share of its applications was predicted within which factor."""
    for number, (kind, points) in enumerate(sorted(by_kind.items())):
        factors = sorted(math.exp(abs(math.log(costs[1] / cost))) for cost, costs in points)
        shares = [(place + 1) / len(factors) for place in range(len(factors))]
        axes.plot(factors, shares, "-" if number < 10 else "--", color=f"C{number % 10}", label=kind, linewidth=1.2)
    axes.set(
        xscale="log", xlim=(1, 30), ylim=(0, 1), xlabel="predicted within a factor of", ylabel="share of applications"
    )
    axes.set_xticks([1, 1.5, 2, 3, 5, 10, 30], labels=["1", "1.5", "2", "3", "5", "10", "30"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2, loc="lower right")


_MARKS = ("o", "s", "^")


def _written(path: Path, picture: Any) -> Path:
    figures: Any = importlib.import_module("matplotlib.figure")
    figure = figures.Figure(figsize=(8, 5.5), layout="constrained")
    picture(figure.add_subplot())
    figure.savefig(path, dpi=120)
    return path
