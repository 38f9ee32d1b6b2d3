"""How good a prediction is: folds, so that nothing is predicted by what was trained on it, and measures."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictor.encoding import Array, Rows
from predictor.examples import Example


@dataclass(frozen=True, slots=True)
class Quality:
    """Of predicted against true costs. A ratio above 1 is an over-estimate."""

    examples: int
    median_relative_error: float
    mean_relative_error: float
    mean_abs_log_error: float
    spearman: float
    p90_over: float
    """Of predicted / true, the 90th percentile."""
    p90_under: float
    """Of true / predicted, the 90th percentile."""


def quality(examples: Sequence[Example], log_costs: Array) -> Quality:
    """`log_costs`: (n,), predicted."""
    true = true_log_costs(examples)
    errors = log_costs - true
    relative = np.abs(np.expm1(errors))
    return Quality(
        len(examples),
        round(float(np.median(relative)), 4),
        round(float(relative.mean()), 4),
        round(mean_abs_log_error(examples, log_costs), 4),
        round(_spearman(log_costs, true), 4),
        round(float(np.exp(np.quantile(errors, 0.9))), 3),
        round(float(np.exp(np.quantile(-errors, 0.9))), 3),
    )


def true_log_costs(examples: Sequence[Example]) -> Array:
    return np.log([example.cost for example in examples])


def mean_abs_log_error(examples: Sequence[Example], log_costs: Array) -> float:
    return float(np.abs(log_costs - true_log_costs(examples)).mean())


def interval_coverage(examples: Sequence[Example], quantiles: Array) -> float:
    """The share of true costs between the lowest and the highest quantile. `quantiles`: (n, 3), log."""
    true = true_log_costs(examples)
    return float(np.mean((quantiles[:, 0] <= true) & (true <= quantiles[:, -1])))


def gross_underestimates(examples: Sequence[Example], log_costs: Array, factor: float = 10.0) -> float:
    """Of the largest tenth, the share that was predicted more than `factor` times too small."""
    true = true_log_costs(examples)
    largest = np.argsort(true)[-max(1, len(true) // 10) :]
    return float(np.mean(true[largest] - log_costs[largest] > np.log(factor)))


def folds_of(examples: Sequence[Example], count: int, *, by_task: bool = False, seed: int = 0) -> Rows:
    """(n,): each example's fold. By task, all runs of one task are in one fold."""
    if not by_task:
        return np.random.default_rng(seed).permutation(len(examples)) % count
    names = [example.task or f"example {number}" for number, example in enumerate(examples)]
    # Half an emoji is a str that UTF-8 does not have.
    digests = [hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).hexdigest() for name in names]
    return np.array([int(digest, 16) % count for digest in digests])


def out_of_fold(
    examples: Sequence[Example],
    folds: Rows,
    training: Callable[[Sequence[Example]], Callable[[Sequence[Example]], Array]],
) -> Array:
    """(n, …): what is predicted of each by a model that has not seen its fold."""
    parts, places = [], []
    for fold in np.unique(folds):
        held_out = np.flatnonzero(folds == fold)
        model = training([examples[number] for number in np.flatnonzero(folds != fold)])
        parts.append(model([examples[number] for number in held_out]))
        places.append(held_out)
    return np.asarray(np.concatenate(parts)[np.argsort(np.concatenate(places))])


def _spearman(one: Array, other: Array) -> float:
    """Rank correlation, equal values sharing their mean rank; 0 where one of both does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Array) -> Array:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[group])
