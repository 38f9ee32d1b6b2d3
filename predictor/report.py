"""How good every model is on recorded applications, overall and by kind; and its predictions, for a simulation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np

from predictor.baselines import BASELINES, Training
from predictor.evaluation import folds_of, gross_underestimates, out_of_fold, quality
from predictor.examples import Example
from predictor.network import trained

__all__ = ["MODELS", "NUM_FOLDS", "Example", "out_of_fold_costs", "rows"]

NUM_FOLDS = 5

MODELS: Mapping[str, Training] = MappingProxyType(
    {**BASELINES, "network": lambda examples: trained(examples).log_costs}
)


def rows(examples: Sequence[Example], *, by_task: bool, told: Callable[[str], None]) -> list[dict[str, Any]]:
    """One for each model and kind, and for each model over all (`kind` None). `told` hears of every model's turn."""
    folds = folds_of(examples, NUM_FOLDS, by_task=by_task)
    kinds = sorted({example.kind for example in examples})
    found = []
    for name, training in MODELS.items():
        told(name)
        log_costs = out_of_fold(examples, folds, training)
        for kind in (None, *kinds):
            chosen = [number for number, example in enumerate(examples) if kind in (None, example.kind)]
            those = [examples[number] for number in chosen]
            row = {"model": name, "kind": kind, **asdict(quality(those, log_costs[chosen]))}
            row["gross_underestimates_of_largest_tenth"] = round(gross_underestimates(those, log_costs[chosen]), 4)
            found.append(row)
    return found


def out_of_fold_costs(examples: Sequence[Example], model: str = "network") -> list[float]:
    """What the model says of each when it was trained without it: minutes for a thousand."""
    log_costs = out_of_fold(examples, folds_of(examples, NUM_FOLDS), MODELS[model])
    return [float(cost) for cost in np.exp(log_costs)]
