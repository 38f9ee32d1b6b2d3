"""How good every model is on recorded applications; and what models say that have not seen them, for a simulation."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from predictor.baselines import BASELINES, Training, global_mean
from predictor.encoding import Array, Rows
from predictor.evaluation import (
    folds_of,
    gross_underestimates,
    interval_coverage,
    mean_abs_log_error,
    out_of_fold,
    quality,
)
from predictor.examples import Example
from predictor.features import Features, Progress
from predictor.model import QUANTILES, CostModel
from predictor.training import train

__all__ = [
    "DEFAULT",
    "MODELS",
    "NUM_FOLDS",
    "Example",
    "held_out_kinds",
    "judged",
    "latency",
    "learning_curve",
    "models_without_kind",
    "out_of_fold_costs",
    "out_of_fold_models",
    "progress_rows",
]

NUM_FOLDS = 5
_TIMED = 300
"""Predictions timed for a report."""
DEFAULT = "kernel"

Told = Callable[[str], None]


def _first_estimates(examples: Sequence[Example]) -> CostModel:
    """First estimates are the same, and training is several times faster."""
    return train(_without_progress(examples))


def _without_progress(examples: Sequence[Example]) -> list[Example]:
    return [Example(example.features, example.cost, example.task) for example in examples]


MODELS: Mapping[str, Training] = MappingProxyType(
    {
        **BASELINES,
        "network": lambda examples: train(_without_progress(examples), middle="network").log_costs,
        DEFAULT: lambda examples: _first_estimates(examples).log_costs,
    }
)


@dataclass(frozen=True, slots=True)
class Judgement:
    rows: list[dict[str, Any]]
    """One for each model and kind, and for each model over all (`kind` None)."""
    quantiles: Array
    """(n, 3) of log cost: what the default, or the artifact, says of every example."""


def judged(
    examples: Sequence[Example],
    *,
    by_task: bool,
    told: Told,
    model: CostModel | None = None,
    without: Sequence[str] = (),
) -> Judgement:
    """Every model but those `without`, each predicting what it was not trained on; with `model` (an artifact's), that
    in the default's place, asked about all as it is. `told` hears of every model's turn."""
    folds = folds_of(examples, NUM_FOLDS, by_task=by_task)
    features = [example.features for example in examples]
    found = []
    quantiles = np.empty((0, len(QUANTILES)))
    for name, training in MODELS.items():
        if name in without:
            continue
        if name != DEFAULT:
            told(name)
            found += _rows(name, examples, _out_of_fold(examples, folds, training), None)
            continue
        name = DEFAULT if model is None else "artifact"
        told(name)
        if model is None:
            quantiles = _out_of_fold(examples, folds, lambda seen: _first_estimates(seen).quantiles)
        else:
            quantiles = model.quantiles(features)
        took = latency(model or _first_estimates(examples), examples, count=_TIMED)
        times = {f"latency_{share}_ms": took[f"single_{share}_ms"] for share in ("p50", "p99")}
        found += [row | times for row in _rows(name, examples, quantiles[:, 1], quantiles)]
    return Judgement(found, quantiles)


def _rows(name: str, examples: Sequence[Example], log_costs: Array, quantiles: Array | None) -> list[dict[str, Any]]:
    found = []
    for kind, chosen in _by_kind(examples):
        those = [examples[number] for number in chosen]
        coverage = None if quantiles is None else round(interval_coverage(those, quantiles[chosen]), 4)
        found.append(
            {
                "model": name,
                "kind": kind,
                **asdict(quality(those, log_costs[chosen])),
                "gross_underestimates_of_largest_tenth": round(gross_underestimates(those, log_costs[chosen]), 4),
                "interval_coverage": coverage,
            }
        )
    return found


def learning_curve(
    examples: Sequence[Example],
    sizes: Sequence[int] = (10, 30, 100, 300, 1000),
    *,
    num_seeds: int = 3,
    told: Told | None = None,
) -> list[dict[str, Any]]:
    """One row a model and size: errors on a held-out tenth (20 at least) after so many, over shuffled orders.

    All sizes of one order are asked about the same tenth. A size larger than the rest is the rest.
    """
    num_asked = max(20, len(examples) // 10)
    most = len(examples) - num_asked
    usable = sorted({min(size, most) for size in sizes})
    errors: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in range(num_seeds):
        order = np.random.default_rng(seed).permutation(len(examples))
        asked = [examples[number] for number in order[:num_asked]]
        for size in usable:
            if told is not None:
                told(f"order {seed + 1}, {size} applications")
            seen = [examples[number] for number in order[num_asked : num_asked + size]]
            for name in (DEFAULT, "kind mean"):
                found = quality(asked, MODELS[name](seen)([example.features for example in asked]))
                errors.setdefault((name, size), []).append((found.median_relative_error, found.mean_abs_log_error))
    return [
        {
            "model": name,
            "trained_on": size,
            "median_relative_error": round(float(np.mean([median for median, _ in found])), 4),
            "mean_abs_log_error": round(float(np.mean([mean for _, mean in found])), 4),
            "orders": len(found),
        }
        for (name, size), found in errors.items()
    ]


def held_out_kinds(examples: Sequence[Example], *, told: Told | None = None) -> list[dict[str, Any]]:
    """One row a kind: errors where no application of the kind was ever seen, beside the mean of all others."""
    found = []
    for kind, chosen in _by_kind(examples):
        if kind is None or len(chosen) == len(examples):
            continue
        if told is not None:
            told(kind)
        asked = [examples[number] for number in chosen]
        others = [example for example in examples if example.features.kind != kind]
        features = [example.features for example in asked]
        quantiles = _first_estimates(others).quantiles(features)
        found.append(
            {
                "kind": kind,
                "examples": len(asked),
                "mean_abs_log_error": round(mean_abs_log_error(asked, quantiles[:, 1]), 4),
                "mean_abs_log_error_of_global_mean": round(mean_abs_log_error(asked, global_mean(others)(features)), 4),
                "interval_coverage": round(interval_coverage(asked, quantiles), 4),
            }
        )
    return found


def progress_rows(examples: Sequence[Example], *, told: Told | None = None) -> list[dict[str, Any]]:
    """One a kind, and one over all (`kind` None), out of fold: the first estimate and the refined one after a third of
    the calls, and the mean over all snapshots. An application counts once; one without snapshots, not at all."""
    first, third, always = (np.full(len(examples), np.nan) for _ in range(3))
    for number, (held_out, model) in enumerate(out_of_fold_models(examples)):
        if told is not None:
            told(f"fold {number + 1} of {NUM_FOLDS}")
        for place in held_out:
            example = examples[place]
            if not example.progress:
                continue
            true = np.log(example.cost)
            quantiles = model.quantiles([example.features])[0]
            refined = [
                abs(model.refined_from(example.features, quantiles, progress)[1] - true)
                for progress in example.progress
            ]
            first[place] = abs(quantiles[1] - true)
            third[place] = refined[_after_a_third(example.progress)]
            always[place] = np.mean(refined)
    return [
        {
            "kind": kind,
            "examples": int(np.isfinite(first[chosen]).sum()),
            "first_mean_abs_log_error": round(float(np.nanmean(first[chosen])), 4),
            "refined_mean_abs_log_error": round(float(np.nanmean(third[chosen])), 4),
            "refined_mean_abs_log_error_of_all_snapshots": round(float(np.nanmean(always[chosen])), 4),
        }
        for kind, chosen in _by_kind(examples)
        if np.isfinite(first[chosen]).any()
    ]


def latency(model: CostModel, asked: Sequence[Example], *, count: int = 1000, batch: int = 64) -> dict[str, float]:
    """Milliseconds, one prediction after another on this machine. `features` is `Features.of` alone, for texts of as
    many words as were seen (the texts themselves are not kept)."""
    features = [each.features for each in asked]
    stages = [(each.features, progress) for each in asked for progress in each.progress]
    texts = [_text_like(each) for each in features]

    def read_and_predict(number: int) -> None:
        kind, text = texts[number % len(texts)]
        model.quantiles([Features.of(kind=kind, text=text, prompt_tokens=100)])

    timed: dict[str, Callable[[int], object]] = {
        "features": lambda number: Features.of(kind="", text=texts[number % len(texts)][1], prompt_tokens=100),
        "single": lambda number: model.quantiles([features[number % len(features)]]),
        "features_and_single": read_and_predict,
    }
    if stages:
        timed["refined"] = lambda number: model.refined(*stages[number % len(stages)])
    found = {}
    for name, call in timed.items():
        took_ms = _times_ms(call, count)
        found[f"{name}_p50_ms"], found[f"{name}_p99_ms"] = (
            round(float(np.quantile(took_ms, share)), 4) for share in (0.5, 0.99)
        )
    together = [features[number % len(features)] for number in range(batch)]
    took_ms = _times_ms(lambda _: model.quantiles(together), max(1, count // batch))
    found[f"batch_of_{batch}_p50_ms"] = round(float(np.median(took_ms)), 4)
    return found


def out_of_fold_costs(examples: Sequence[Example], model: str = DEFAULT) -> list[float]:
    """What the model says of each when it was trained without it: seconds for a thousand."""
    log_costs = _out_of_fold(examples, folds_of(examples, NUM_FOLDS), MODELS[model])
    return [float(cost) for cost in np.exp(log_costs)]


def out_of_fold_models(examples: Sequence[Example], *, by_task: bool = False) -> Iterator[tuple[Rows, CostModel]]:
    """Which examples, and a model that has not seen them, for first and refined estimates; trained as they are asked
    for. Every example is in one of the parts."""
    folds = folds_of(examples, NUM_FOLDS, by_task=by_task)
    for fold in np.unique(folds):
        yield np.flatnonzero(folds == fold), train([examples[number] for number in np.flatnonzero(folds != fold)])


def models_without_kind(examples: Sequence[Example]) -> Iterator[tuple[Rows, CostModel]]:
    """The same by kind: models that have seen no application of the kind at all."""
    for kind, chosen in _by_kind(examples):
        if kind is not None and len(chosen) < len(examples):
            yield chosen, train([example for example in examples if example.features.kind != kind])


def _out_of_fold(examples: Sequence[Example], folds: Rows, training: Training) -> Array:
    def of_examples(seen: Sequence[Example]) -> Callable[[Sequence[Example]], Array]:
        model = training(seen)
        return lambda asked: model([each.features for each in asked])

    return out_of_fold(examples, folds, of_examples)


def _by_kind(examples: Sequence[Example]) -> Iterator[tuple[str | None, Rows]]:
    """None with all of them, then every kind with its own."""
    yield None, np.arange(len(examples))
    for kind in sorted({example.features.kind for example in examples}):
        yield kind, np.array([n for n, example in enumerate(examples) if example.features.kind == kind])


def _after_a_third(progress: Sequence[Progress]) -> int:
    # How many calls there were in all is not told; after the last snapshot those that were open are still to end.
    calls = progress[-1].num_ended + max(1, progress[-1].num_open)
    return next((n for n, each in enumerate(progress) if 3 * each.num_ended >= calls), len(progress) - 1)


def _text_like(features: Features) -> tuple[str, str]:
    words = [f"w{key:x}" for key, count in features.words for _ in range(count)]
    return features.kind, " ".join(words)


def _times_ms(call: Callable[[int], object], count: int) -> list[float]:
    found = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        found.append(1e3 * (time.perf_counter() - began))
    return found
