"""How good a prediction is: folds, so that nothing is predicted by what was trained on it, and measures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from predictor.baselines import Training
from predictor.encoding import Array
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
    true = np.log([example.cost for example in examples])
    errors = log_costs - true
    relative = np.abs(np.expm1(errors))
    varied = len(examples) > 1 and np.ptp(true) > 0 and np.ptp(log_costs) > 0
    return Quality(
        len(examples),
        round(float(np.median(relative)), 4),
        round(float(relative.mean()), 4),
        round(float(np.abs(errors).mean()), 4),
        round(float(spearmanr(log_costs, true).statistic), 4) if varied else 0.0,
        round(float(np.exp(np.quantile(errors, 0.9))), 3),
        round(float(np.exp(np.quantile(-errors, 0.9))), 3),
    )


def gross_underestimates(examples: Sequence[Example], log_costs: Array, factor: float = 10.0) -> float:
    """Of the largest tenth, the share that was predicted more than `factor` times too small."""
    true = np.log([example.cost for example in examples])
    largest = np.argsort(true)[-max(1, len(true) // 10) :]
    return float(np.mean(true[largest] - log_costs[largest] > np.log(factor)))


def folds_of(examples: Sequence[Example], count: int, *, by_task: bool = False, seed: int = 0) -> NDArray[np.int64]:
    """(n,): each example's fold. By task, all runs of one task are in one fold."""
    if not by_task:
        return np.random.default_rng(seed).permutation(len(examples)) % count
    names = [example.task or f"example {number}" for number, example in enumerate(examples)]
    return np.array([int(hashlib.sha256(f"{seed} {name}".encode()).hexdigest(), 16) % count for name in names])


def out_of_fold(examples: Sequence[Example], folds: NDArray[np.int64], training: Training) -> Array:
    """(n,): log costs, each from a model that has not seen its fold."""
    predicted = np.empty(len(examples))
    for fold in np.unique(folds):
        held_out = np.flatnonzero(folds == fold)
        model = training([examples[number] for number in np.flatnonzero(folds != fold)])
        predicted[held_out] = model([examples[number] for number in held_out])
    return predicted
