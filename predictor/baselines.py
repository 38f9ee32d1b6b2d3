"""What the model has to beat. All learn log cost and answer it: (n,) for n applications. They are not for serving."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from predictor.encoding import Array, Encoding
from predictor.examples import Example
from predictor.features import Features

Baseline = Callable[[Sequence[Features]], Array]
"""Features → log cost."""

Training = Callable[[Sequence[Example]], Baseline]


def global_mean(examples: Sequence[Example]) -> Baseline:
    """The mean cost of all."""
    mean = np.log(np.mean([example.cost for example in examples]))
    return lambda asked: np.full(len(asked), mean)


def kind_mean(examples: Sequence[Example]) -> Baseline:
    """The mean cost of the kind, else of all: what the gateway knows without a trained model."""
    return _of_kind(examples, np.mean)


def kind_median(examples: Sequence[Example]) -> Baseline:
    """The median cost of the kind, else of all."""
    return _of_kind(examples, np.median)


def _of_kind(examples: Sequence[Example], middle: Callable[[list[float]], Any]) -> Baseline:
    by_kind: dict[str, list[float]] = {}
    for example in examples:
        by_kind.setdefault(example.features.kind, []).append(example.cost)
    middles = {kind: float(np.log(middle(costs))) for kind, costs in by_kind.items()}
    of_all = float(np.log(middle([example.cost for example in examples])))
    return lambda asked: np.array([middles.get(each.kind, of_all) for each in asked])


def linear(examples: Sequence[Example]) -> Baseline:
    """Ridge regression on words, numbers and kind."""
    from sklearn.linear_model import Ridge

    return _in_spreads(examples, _all_inputs, Ridge(alpha=3.0))


def boosting(examples: Sequence[Example]) -> Baseline:
    """Gradient boosting of trees on numbers and kind, without the words."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(
        loss="absolute_error", learning_rate=0.05, max_iter=200, max_leaf_nodes=15, min_samples_leaf=8, random_state=0
    )
    return _in_spreads(examples, _inputs, trees)


def _in_spreads(
    examples: Sequence[Example], inputs: Callable[[Encoding, Sequence[Features]], Array], regression: Any
) -> Baseline:
    """Predicts how far an application lies from the middle of its kind, in the kind's spreads."""
    encoding = Encoding.fitted(examples)
    features, costs = [example.features for example in examples], np.log([example.cost for example in examples])
    rows = encoding.kind_rows(features)
    targets = (costs - encoding.middle_of_kind[rows]) / encoding.spread_of_kind[rows]
    regression.fit(inputs(encoding, features), targets)

    def log_costs(asked: Sequence[Features]) -> Array:
        rows = encoding.kind_rows(asked)
        found = regression.predict(inputs(encoding, asked))
        return np.asarray(encoding.middle_of_kind[rows] + encoding.spread_of_kind[rows] * found)

    return log_costs


def _inputs(encoding: Encoding, asked: Sequence[Features]) -> Array:
    points = encoding.points(asked)
    return np.concatenate([points.numbers, points.kind_rows[:, None] == np.arange(len(encoding.kinds))], axis=1)


def _all_inputs(encoding: Encoding, asked: Sequence[Features]) -> Array:
    words = encoding.points(asked).words.columns(len(encoding.vocabulary)).T
    return np.concatenate([words, 0.3 * _inputs(encoding, asked)], axis=1)


BASELINES: Mapping[str, Training] = MappingProxyType(
    {
        "global mean": global_mean,
        "kind mean": kind_mean,
        "kind median": kind_median,
        "linear": linear,
        "boosting": boosting,
    }
)
