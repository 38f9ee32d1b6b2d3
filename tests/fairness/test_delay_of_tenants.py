"""The delay bound where tenants have the shares, against an engine with one KV memory (see test_delay_in_memory).

Whatever tenants hand in, in whatever pieces and order: when an application ends, no more than 2·M·D of service has been
delivered since V reached its finish time, and what calls had left that ran when a newcomer of their own tenant came
before them, for they go on. Its finish time is the last one: its own tenant may have moved it back.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fairness import (
    SHARES_NAMES,
    UNIT_WEIGHT,
    ApplicationId,
    KvTokenTime,
    Shares,
    TenantClock,
    Weight,
    shares_named,
)
from gateway.fairness.cost import application_cost
from gateway.fairness.units import Tokens
from tests.fakes import memory_engine
from tests.fakes.memory_engine import LENGTHS, MemoryEngine, Running, bound, name_of


@dataclass(frozen=True)
class Job(memory_engine.Job):
    tenant: str


class Engine(MemoryEngine[Job]):
    """Of an application's calls the first that waits is offered."""

    def __init__(self, jobs: Sequence[Job], weights: Mapping[str, Weight], clock: Shares | None = None) -> None:
        super().__init__(jobs)
        self.weights = weights
        self.clock = TenantClock() if clock is None else clock
        self.service: dict[ApplicationId, float] = {}
        self.jobs_by_name = {name_of(number): job for number, job in enumerate(jobs)}
        self.readings: list[tuple[float, float]] = [(0.0, 0.0)]
        """(V, service delivered) after each iteration."""
        self.late: dict[ApplicationId, float] = {}
        """Service delivered from when it was due to its end; below zero if it was earlier."""
        self.arrived_at: dict[ApplicationId, float] = {}
        self.passed: dict[str, float] = {}
        """By tenant: the most that its running calls had left when a newcomer of its own came before them."""

    def arrive(self, name: ApplicationId, job: Job) -> None:
        weight = self.weights[job.tenant]
        finish = self.clock.arrive(name, job.cost, UNIT_WEIGHT, tenant=job.tenant, tenant_weight=weight)
        self.service[name] = 0.0
        self.arrived_at[name] = self.delivered
        of_its_own = [one for one in self.running if self.jobs_by_name[one.application_id].tenant == job.tenant]
        behind = self.clock.finish_times(one.application_id for one in of_its_own)
        left = sum(one.left for one in of_its_own if behind.get(one.application_id, 0.0) > finish)
        self.passed[job.tenant] = max(self.passed.get(job.tenant, 0.0), left)

    def first(self) -> tuple[ApplicationId, int]:
        finish_times = self.clock.finish_times(self.waiting)
        return min(finish_times, key=lambda one: (finish_times[one], one)), 0

    def served(self, service: Mapping[ApplicationId, int], ended: Sequence[Running]) -> None:
        self.clock.serve(KvTokenTime(sum(service.values())))
        self.readings.append((self.clock.virtual_time, self.delivered))
        for name, amount in service.items():
            self.service[name] += amount
            self.clock.update(name, self.jobs_by_name[name].cost, KvTokenTime(self.service[name]))
        for name in {one.application_id for one in ended}:
            if self.is_finished(name):
                self.late[name] = self.delivered - self.due_at(name)
                self.clock.close(name, self.jobs_by_name[name].cost)

    def due_at(self, name: ApplicationId) -> float:
        """Service delivered when V reached its finish time; when it arrived, if that was due already for what else its
        tenant had handed in."""
        reached = bisect_left(self.readings, (self.clock.finish_time(name), 0.0))
        return max(self.arrived_at[name], self.readings[reached][1] if reached < len(self.readings) else inf)


WEIGHTS = {"x": Weight(1000), "y": Weight(2000), "z": Weight(500)}
JOBS = st.lists(
    st.builds(
        Job,
        st.integers(0, 3000).map(float),
        st.lists(LENGTHS, min_size=1, max_size=10).map(tuple),
        st.sampled_from(sorted(WEIGHTS)),
    ),
    min_size=1,
    max_size=14,
)


@settings(deadline=None)
@given(JOBS)
def test_nobody_is_later_than_the_bound(jobs: list[Job]) -> None:
    engine = Engine(jobs, WEIGHTS)
    engine.run()
    assert len(engine.late) == len(jobs)
    assert max(engine.late.values()) <= bound(jobs) + sum(engine.passed.values()) + 1e-6


def test_a_tenant_that_floods_delays_nobody_else() -> None:
    """With a share for each application all two hundred are served before the one."""
    mouse = ((Tokens(10), Tokens(4)),)
    crowd = [Job(0.0, mouse, "x") for _ in range(200)]
    one = Job(1.0, ((Tokens(20), Tokens(10)),) * 4, "y")
    ends = {}
    for shares in SHARES_NAMES:
        engine = Engine([*crowd, one], {"x": Weight(1000), "y": Weight(1000)}, shares_named(shares))
        engine.run()
        ends[shares] = engine.finished[name_of(200)]
    of_it, of_the_crowd = application_cost(one.calls), 200 * application_cost(mouse)
    assert ends["application"] > of_the_crowd
    assert ends["tenant"] <= 2 * of_it + bound([*crowd, one])


def test_a_stream_of_small_pieces_is_no_way_around() -> None:
    """One tenant's job comes whole; the other hands in a small piece whenever the one before could have been served."""
    mouse = ((Tokens(10), Tokens(4)),)
    every = float(application_cost(mouse))
    elephant = Job(0.0, ((Tokens(20), Tokens(10)),) * 20, "x")
    pieces = [Job(1.0 + every * number, mouse, "z") for number in range(300)]
    engine = Engine([elephant, *pieces], {"x": Weight(1000), "z": Weight(1000)})
    engine.run()
    assert engine.late[name_of(0)] <= bound([elephant, *pieces])
