"""A run as plain values: what is kept in a file of results, and what pictures are drawn from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.replay.measures import lateness_to_gps
from gateway.replay.model import Run


@dataclass(frozen=True, slots=True)
class MomentRecord:
    at_s: float
    worst_lag: int
    """The largest of anybody: what GPS has given by now less what was had; token·iterations."""
    service: dict[str, int]
    """What the followed applications have had, by their number in the workload; those that are there."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Lists are in the order of the workload."""

    label: str
    policy: str
    kinds: tuple[str, ...]
    jct_s: tuple[float, ...]
    lateness_to_gps: tuple[int, ...]
    """Token·iterations; below zero is earlier than GPS."""
    delay_bound: int
    moments: tuple[MomentRecord, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "RunRecord":
        """Of `as_dict`, after a way through JSON."""
        return cls(
            label=value["label"],
            policy=value["policy"],
            kinds=tuple(value["kinds"]),
            jct_s=tuple(value["jct_s"]),
            lateness_to_gps=tuple(value["lateness_to_gps"]),
            delay_bound=value["delay_bound"],
            moments=tuple(MomentRecord(**moment) for moment in value["moments"]),
        )


def record_of(run: Run, label: str, followed: Sequence[int] = ()) -> RunRecord:
    """`followed`: numbers of the applications whose service over time is kept."""
    names = {run.completions[number].application_id: str(number) for number in followed}
    return RunRecord(
        label=label,
        policy=run.policy,
        kinds=tuple(completion.kind for completion in run.completions),
        jct_s=tuple(round(completion.jct_s, 3) for completion in run.completions),
        lateness_to_gps=tuple(map(round, lateness_to_gps(run))),
        delay_bound=2 * run.kv_tokens * run.longest_stay,
        moments=tuple(
            MomentRecord(
                round(moment.at_s, 3),
                round(max(moment.lag.values(), default=0.0)),
                {names[one]: round(service) for one, service in moment.service.items() if one in names},
            )
            for moment in run.moments
        ),
    )


def spread_by(values: Sequence[float], count: int) -> list[int]:
    """Indices of the largest, the smallest, and of others evenly between them by rank; all, if there are not more."""
    order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
    if len(order) <= count or count < 2:
        return order[:count]
    return [order[round(place * (len(order) - 1) / (count - 1))] for place in range(count)]
