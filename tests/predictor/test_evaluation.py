"""Measures by hand, and folds that keep what was trained on apart from what is predicted."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr

from predictor.encoding import Array
from predictor.evaluation import (
    folds_of,
    gross_underestimates,
    interval_coverage,
    out_of_fold,
    quality,
)
from predictor.examples import Example
from predictor.features import Features
from tests.predictor.applications import examples

SEEN = examples(300)


def costing(*costs: float) -> list[Example]:
    return [Example(Features.of(kind="k", text="", prompt_tokens=1), cost) for cost in costs]


def test_quality_by_hand() -> None:
    those = costing(1.0, 10.0, 100.0)
    found = quality(those, np.log([2.0, 10.0, 50.0]))
    assert (found.median_relative_error, found.mean_relative_error) == (0.5, 0.5)
    assert found.mean_abs_log_error == pytest.approx(2 * math.log(2) / 3, abs=1e-4)
    assert found.spearman == 1.0
    assert found.p90_over == pytest.approx(2**0.8, abs=1e-3)
    assert quality(those[:1], np.log([2.0])).spearman == 0.0


def test_rank_correlation_is_that_of_scipy() -> None:
    draw = np.random.default_rng(1)
    costs, predicted = np.exp(draw.integers(0, 9, 50)), draw.integers(0, 9, 50).astype(float)
    expected = float(spearmanr(predicted, costs).statistic)
    assert quality(costing(*costs), predicted).spearman == pytest.approx(expected, abs=1e-4)


def test_gross_underestimates_are_counted_among_the_largest() -> None:
    those = costing(*map(float, range(1, 21)))
    log_costs = np.log([example.cost for example in those])
    log_costs[19] -= math.log(11)
    log_costs[0] -= math.log(11)
    assert gross_underestimates(those, log_costs) == 0.5


def test_coverage_counts_both_ends() -> None:
    quantiles = np.log([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [10.0, 20.0, 30.0], [1.0, 2.0, 2.5]])
    assert interval_coverage(costing(1.0, 7.0, 20.0, 3.0), quantiles) == 0.5


def test_runs_of_a_task_are_in_one_fold() -> None:
    folds = folds_of(SEEN, 5, by_task=True)
    by_task: dict[str, set[int]] = {}
    for example, fold in zip(SEEN, folds, strict=True):
        by_task.setdefault(example.task, set()).add(int(fold))
    assert all(len(found) == 1 for found in by_task.values())
    assert sorted(np.bincount(folds_of(SEEN, 5))) == [60] * 5


def test_nothing_is_predicted_by_what_has_seen_it() -> None:
    def remembering(seen: Sequence[Example]) -> Callable[[Sequence[Example]], Array]:
        costs = {example.features: math.log(example.cost) for example in seen}
        return lambda asked: np.array([costs.get(each.features, -each.cost) for each in asked])

    apart = [
        Example(Features.of(kind="k", text=f"text {number}", prompt_tokens=1), number + 1.0) for number in range(20)
    ]
    found = out_of_fold(apart, folds_of(apart, 4), remembering)
    assert list(found) == [-number - 1.0 for number in range(20)]
