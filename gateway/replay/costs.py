"""What is predicted for an application when it arrives: its true cost, or that cost with a known error."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean, median

from gateway.fairness.cost import application_cost, token_cost
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.workloads.traces import RecordedApplication

Costs = Sequence[KvTokenTime]


def true_cost(application: RecordedApplication) -> KvTokenTime:
    """KV token-time of all its calls, no prefix shared."""
    return application_cost((Tokens(c.prompt_tokens), Tokens(c.completion_tokens)) for c in application.calls)


def oracle(applications: Sequence[RecordedApplication]) -> Costs:
    return [true_cost(application) for application in applications]


def global_mean(applications: Sequence[RecordedApplication], seen: Sequence[RecordedApplication]) -> Costs:
    """The same for all: what is known when nothing is."""
    mean = fmean(true_cost(application) for application in seen)
    return [KvTokenTime(mean)] * len(applications)


def kind_mean(applications: Sequence[RecordedApplication], seen: Sequence[RecordedApplication]) -> Costs:
    """The mean over the runs of its kind in `seen`, which may be the whole recording."""
    return _of_kind(applications, seen, fmean)


def kind_median(applications: Sequence[RecordedApplication], seen: Sequence[RecordedApplication]) -> Costs:
    """The median in its place: a few very large runs of a kind do not move it."""
    return _of_kind(applications, seen, median)


def _of_kind(
    applications: Sequence[RecordedApplication],
    seen: Sequence[RecordedApplication],
    middle: Callable[[Sequence[float]], float],
) -> Costs:
    by_kind: dict[str, list[float]] = {}
    for application in seen:
        by_kind.setdefault(application.kind, []).append(true_cost(application))
    middles = {kind: middle(costs) for kind, costs in by_kind.items()}
    return [KvTokenTime(middles[application.kind]) for application in applications]


def tokens(applications: Sequence[RecordedApplication]) -> Costs:
    """p + 2d over its calls, scaled so that all together cost what they truly do: only the proportions are wrong."""
    raw = [
        sum(token_cost(Tokens(c.prompt_tokens), Tokens(c.completion_tokens)) for c in application.calls)
        for application in applications
    ]
    scale = sum(oracle(applications)) / sum(raw)
    return [KvTokenTime(scale * cost) for cost in raw]


def noisy(costs: Costs, share: float, seed: int) -> Costs:
    """Each times a factor drawn evenly from 1 ± share."""
    draw = random.Random(seed)
    return [KvTokenTime(cost * draw.uniform(1 - share, 1 + share)) for cost in costs]


def log_normal(costs: Costs, sigma: float, seed: int) -> Costs:
    """Each times e to a normal deviation of `sigma`: as often a factor too large as too small."""
    draw = random.Random(seed)
    return [KvTokenTime(cost * math.exp(draw.gauss(0.0, sigma))) for cost in costs]


def largest_divided(costs: Costs, count: int, divisor: float) -> Costs:
    """The `count` largest, guessed far too small."""
    bar = sorted(costs, reverse=True)[count - 1] if count else math.inf
    return [KvTokenTime(cost / divisor) if cost >= bar else cost for cost in costs]


PREDICTORS: dict[str, Callable[[Sequence[RecordedApplication], Sequence[RecordedApplication]], Costs]] = {
    "oracle": lambda applications, _: oracle(applications),
    "kind-mean": kind_mean,
    "tokens": lambda applications, _: tokens(applications),
}
