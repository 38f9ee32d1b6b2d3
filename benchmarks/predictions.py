"""What is predicted in the studies: true costs, and true costs with a known error."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from gateway.fairness.units import KvTokenTime
from gateway.predictor_command import out_of_fold_costs
from gateway.replay import costs
from gateway.workloads.traces import RecordedApplication

Applications = Sequence[RecordedApplication]


@cache
def _by_network(recorded: tuple[RecordedApplication, ...]) -> dict[RecordedApplication, KvTokenTime]:
    """Minutes: once in a process."""
    return dict(zip(recorded, out_of_fold_costs(recorded), strict=True))


def _network(applications: Applications, recorded: Applications, seed: int) -> costs.Costs:
    known = _by_network(tuple(recorded))
    return [known[application] for application in applications]


PREDICTIONS: Mapping[str, Callable[[Applications, Applications, int], costs.Costs]] = MappingProxyType(
    {
        "exact": lambda applications, _, __: costs.oracle(applications),
        "noise 30 %": lambda applications, _, seed: costs.noisy(costs.oracle(applications), 0.3, seed),
        "8 largest / 100": lambda applications, _, __: costs.largest_divided(costs.oracle(applications), 8, 100),
        "noise 30 %, 8 largest / 100": lambda applications, _, seed: costs.largest_divided(
            costs.noisy(costs.oracle(applications), 0.3, seed), 8, 100
        ),
        "kind mean": lambda applications, recorded, _: costs.kind_mean(applications, recorded),
        "kind median": lambda applications, recorded, _: costs.kind_median(applications, recorded),
        "network": _network,
        "p + 2d": lambda applications, _, __: costs.tokens(applications),
    }
)
"""(workload's applications, the recording they are from, seed) → predicted costs. Mean and median of a kind are taken
over the whole recording, the application itself included; the network is trained without those it predicts."""
