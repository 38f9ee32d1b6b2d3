"""What is predicted in the studies: true costs, true costs with a known error, and what the predictor says.

The predictor never predicts what it was trained on: an application is predicted by a model that has not seen its fold.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Protocol

from benchmarks.gittins import by_kind
from benchmarks.workloads import LARGE, MEDIUM, SMALL
from gateway.fairness.units import KvTokenTime
from gateway.learning.examples import of_recorded, predictor_progress
from gateway.ports import Progress
from gateway.replay import costs
from gateway.scheduling.course import WORTH_REVISING
from gateway.workloads.traces import RecordedApplication

Applications = Sequence[RecordedApplication]
Predict = Callable[[Applications, Applications, int], costs.Costs]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a model says of one application that it has not seen."""

    model: Any
    features: Any
    first: Any
    """Quantiles of log cost."""

    @property
    def cost(self) -> KvTokenTime:
        return KvTokenTime(math.exp(self.first[1]))

    def refined(self, progress: Progress) -> KvTokenTime:
        quantiles = self.model.refined_from(self.features, self.first, predictor_progress(progress))
        return KvTokenTime(math.exp(quantiles[1]))


@cache
def trained(
    recorded: tuple[RecordedApplication, ...], *, without_kind: bool = False, without_words: bool = False
) -> dict[RecordedApplication, Trained]:
    """Seconds for a thousand, once in a process. `without_kind`: by models that have seen no run of its kind at all;
    `without_words`: that were not told what was asked, as in a gateway that keeps no words."""
    report = importlib.import_module("predictor.report")
    examples = of_recorded(recorded)
    if without_words:
        examples = [replace(example, features=example.features.without_words()) for example in examples]
    models = report.models_without_kind(examples) if without_kind else report.out_of_fold_models(examples)
    found = {}
    for places, model in models:
        features = [examples[place].features for place in places]
        for place, known, first in zip(places, features, model.quantiles(features), strict=True):
            found[recorded[place]] = Trained(model, known, first)
    return found


def _by_predictor(**told: bool) -> Predict:
    """`told`: as in `trained`."""

    def predicted(applications: Applications, recorded: Applications, _: int) -> costs.Costs:
        known = trained(tuple(recorded), **told)
        return [known[application].cost for application in applications]

    return predicted


PREDICTIONS: Mapping[str, Predict] = MappingProxyType(
    {
        "exact": lambda applications, _, __: costs.oracle(applications),
        "noise 30 %": lambda applications, _, seed: costs.noisy(costs.oracle(applications), 0.3, seed),
        **{
            f"log-normal {sigma:g}": lambda applications, _, seed, sigma=sigma: costs.log_normal(
                costs.oracle(applications), sigma, seed
            )
            for sigma in (0.1, 0.2, 0.3, 0.5, 0.7)
        },
        "8 largest / 100": lambda applications, _, __: costs.largest_divided(costs.oracle(applications), 8, 100),
        "noise 30 %, 8 largest / 100": lambda applications, _, seed: costs.largest_divided(
            costs.noisy(costs.oracle(applications), 0.3, seed), 8, 100
        ),
        "global mean": lambda applications, recorded, _: costs.global_mean(applications, recorded),
        "kind mean": lambda applications, recorded, _: costs.kind_mean(applications, recorded),
        "kind median": lambda applications, recorded, _: costs.kind_median(applications, recorded),
        "predictor": _by_predictor(),
        "predictor without words": _by_predictor(without_words=True),
        "predictor, its kind unseen": _by_predictor(without_kind=True),
        "p + 2d": lambda applications, _, __: costs.tokens(applications),
    }
)
"""(workload's applications, the recording they are from, seed) → predicted costs. Means and medians are taken over the
whole recording, the application itself included."""

REFINED = "predictor, refined"
"""First as `predictor`, then anew as its calls end, wherever the gateway finds that worth it."""
REFINED_WITHOUT_WORDS = "predictor without words, refined"
GITTINS = "kind, Gittins"
"""What the kind and the service attained tell, anew with every call (`benchmarks.gittins`)."""


class Refinable(Protocol):
    """What is known of one application: at its first call, and further on."""

    @property
    def cost(self) -> KvTokenTime: ...

    def refined(self, progress: Progress) -> KvTokenTime: ...


@dataclass(frozen=True, slots=True)
class Refining:
    known: Callable[[tuple[RecordedApplication, ...]], Mapping[RecordedApplication, Refinable]]
    """From the recording."""
    worth_revising: float = WORTH_REVISING
    """How many times more or less a cost must be than the one in force."""


@dataclass(frozen=True, slots=True)
class Told:
    """Nothing is left to be predicted."""

    cost: KvTokenTime

    def refined(self, _: Progress) -> KvTokenTime:
        return self.cost


def told_of(recorded: tuple[RecordedApplication, ...], *, kind: str) -> Mapping[RecordedApplication, Refinable]:
    """What the predictor says, but of one kind the true costs: how much its errors matter."""
    true = {one: Told(cost) for one, cost in zip(recorded, costs.oracle(recorded), strict=True) if one.kind == kind}
    return {**trained(recorded), **true}


REFINED_BUT: Mapping[str, Refining] = MappingProxyType(
    {f"{REFINED}, {kind} exact": Refining(partial(told_of, kind=kind)) for kind in (*SMALL, *MEDIUM, *LARGE)}
)

REFINED_AT: Mapping[str, Refining] = MappingProxyType(
    {REFINED: Refining(trained)}
    | {f"{REFINED} at {factor:g}x": Refining(trained, worth_revising=factor) for factor in (1.0, 1.1, 2.0, 4.0)}
)

REFINING: Mapping[str, Refining] = MappingProxyType(
    {
        **REFINED_AT,
        **REFINED_BUT,
        REFINED_WITHOUT_WORDS: Refining(partial(trained, without_words=True)),
        GITTINS: Refining(by_kind, worth_revising=1.0),
    }
)
