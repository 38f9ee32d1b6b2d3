"""What the network has to beat. All learn log cost and answer it: (n,) for n examples."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from predictor.encoding import Array, Encoding
from predictor.examples import Example

Model = Callable[[Sequence[Example]], Array]
"""Examples → log cost."""

Training = Callable[[Sequence[Example]], Model]


def global_mean(examples: Sequence[Example]) -> Model:
    """The mean cost of all."""
    mean = np.log(np.mean([example.cost for example in examples]))
    return lambda asked: np.full(len(asked), mean)


def kind_mean(examples: Sequence[Example]) -> Model:
    """The mean cost of the kind, else of all: what the gateway knows without a trained model."""
    return _of_kind(examples, np.mean)


def kind_median(examples: Sequence[Example]) -> Model:
    """The median cost of the kind, else of all."""
    return _of_kind(examples, np.median)


def _of_kind(examples: Sequence[Example], middle: Callable[[list[float]], Any]) -> Model:
    by_kind: dict[str, list[float]] = {}
    for example in examples:
        by_kind.setdefault(example.kind, []).append(example.cost)
    middles = {kind: float(np.log(middle(costs))) for kind, costs in by_kind.items()}
    of_all = float(np.log(middle([example.cost for example in examples])))
    return lambda asked: np.array([middles.get(example.kind, of_all) for example in asked])


def linear(examples: Sequence[Example]) -> Model:
    """Ridge regression on words, lengths and kind."""
    from sklearn.linear_model import Ridge

    encoding = Encoding.fitted(examples)
    model: Any = Ridge(alpha=3.0).fit(_all_inputs(encoding, examples), encoding.targets(examples))
    return lambda asked: encoding.log_costs(asked, model.predict(_all_inputs(encoding, asked)))


def boosting(examples: Sequence[Example]) -> Model:
    """Gradient boosting of trees on lengths and kind, without the words."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    encoding = Encoding.fitted(examples)
    model: Any = HistGradientBoostingRegressor(
        loss="absolute_error", learning_rate=0.05, max_iter=200, max_leaf_nodes=15, min_samples_leaf=8, random_state=0
    ).fit(encoding.inputs(examples), encoding.targets(examples))
    return lambda asked: encoding.log_costs(asked, model.predict(encoding.inputs(asked)))


def _all_inputs(encoding: Encoding, examples: Sequence[Example]) -> Array:
    return np.concatenate([encoding.words(examples), 0.3 * encoding.inputs(examples)], axis=1)


BASELINES: Mapping[str, Training] = MappingProxyType(
    {
        "global mean": global_mean,
        "kind mean": kind_mean,
        "kind median": kind_median,
        "linear": linear,
        "boosting": boosting,
    }
)
