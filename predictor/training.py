"""From applications that have ended to a model, the same for the same seed. Seconds for a thousand, with numpy alone;
half a minute more where a network is asked for, which torch trains."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from predictor import estimate, network, refinement
from predictor.encoding import Encoding
from predictor.examples import Example
from predictor.features import MAX_SERVICE
from predictor.model import CostModel
from predictor.regression import QUANTILES

_NUM_STEPS = 3 + refinement.NUM_FOLDS
_NETWORK_STEPS = 40

Middle = Literal["kernel", "network"]
"""Where first estimates have their middle from."""


def train(
    examples: Sequence[Example],
    *,
    seed: int = 0,
    middle: Middle = "kernel",
    told: Callable[[int, int], None] | None = None,
) -> CostModel:
    """`told` hears how many steps are done, and of how many. Raises ValueError if there is nothing to learn from."""
    if not examples:
        raise ValueError("there are no examples to learn from")
    if any(not 1 / MAX_SERVICE <= example.cost <= MAX_SERVICE for example in examples):
        raise ValueError("a cost is not more than 0, or beyond reason")
    num_steps = _NUM_STEPS + _NETWORK_STEPS * (middle == "network")
    num_done = 0

    def done() -> None:
        nonlocal num_done
        num_done = min(num_done + 1, num_steps)
        if told is not None:
            told(num_done, num_steps)

    features = [example.features for example in examples]
    costs = np.log([example.cost for example in examples])
    encoding = Encoding.fitted(examples)
    done()
    first = estimate.fitted(encoding, features, costs, seed)
    done()
    refined = refinement.fitted(
        encoding,
        encoding.kind_rows(features),
        first.left_out[:, QUANTILES.index(0.5)],
        costs,
        [example.progress for example in examples],
        seed,
        done,
    )
    perceptron = None
    if middle == "network":
        perceptron = network.trained(encoding, features, costs, seed=seed, told=lambda _, __: done())
    if told is not None:
        told(num_steps, num_steps)
    return CostModel(first.estimate, refined, perceptron)
