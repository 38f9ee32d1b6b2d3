"""The delay bound where tenants have the shares, against an engine with one KV memory (see test_delay_in_memory).

Whatever tenants hand in, in whatever pieces and order: when an application ends, no more than 2·M·D of service has been
delivered since V reached its finish time, and what calls had left that ran when a newcomer of their own tenant came
before them, for they go on. Its finish time is the last one: its own tenant may have moved it back.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
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

MEMORY = 40

Lengths = tuple[Tokens, Tokens]
"""(prompt, output) tokens of one call."""


@dataclass(frozen=True)
class Job:
    """`at`: service delivered before it arrives."""

    at: float
    calls: tuple[Lengths, ...]
    tenant: str


@dataclass
class Running:
    application_id: ApplicationId
    lengths: Lengths
    iteration: int = 0

    @property
    def left(self) -> int:
        """token·iterations"""
        return sum(self.lengths[0] + later for later in range(self.iteration + 1, self.lengths[1] + 1))


@dataclass
class Engine:
    """Of an application's calls the first that waits is offered; with room for it, it is admitted."""

    jobs: list[Job]
    weights: dict[str, Weight]
    clock: Shares = field(default_factory=TenantClock)
    delivered: float = 0.0
    waiting: dict[ApplicationId, list[Lengths]] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    service: dict[ApplicationId, float] = field(default_factory=dict)
    cost: dict[ApplicationId, KvTokenTime] = field(default_factory=dict)
    readings: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    """(V, service delivered) after each iteration."""
    late: dict[ApplicationId, float] = field(default_factory=dict)
    arrived_at: dict[ApplicationId, float] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)
    """By tenant: the most that its running calls had left when a newcomer of its own came before them."""
    ended_at: dict[ApplicationId, float] = field(default_factory=dict)

    def run(self) -> dict[ApplicationId, float]:
        """Of each application: service delivered from when it was due to its end; below zero if it was earlier."""
        coming = sorted(((job.at, name_of(number), job) for number, job in enumerate(self.jobs)), reverse=True)
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.delivered = max(self.delivered, coming[-1][0])
            while coming and coming[-1][0] <= self.delivered:
                self.arrive(*coming.pop()[1:])
            self.admit()
            self.iterate()
        return self.late

    def arrive(self, name: ApplicationId, job: Job) -> None:
        self.cost[name] = application_cost(job.calls)
        weight = self.weights[job.tenant]
        self.clock.arrive(name, self.cost[name], UNIT_WEIGHT, tenant=job.tenant, tenant_weight=weight)
        self.waiting[name] = list(job.calls)
        self.service[name] = 0.0
        self.arrived_at[name] = self.delivered
        behind = self.clock.finish_times(
            one.application_id for one in self.running if self.tenant_of(one) == job.tenant
        )
        come_before = [
            one for one in self.running if behind.get(one.application_id, 0.0) > self.clock.finish_time(name)
        ]
        self.passed[job.tenant] = max(self.passed.get(job.tenant, 0.0), sum(one.left for one in come_before))

    def tenant_of(self, one: Running) -> str:
        return self.jobs[int(one.application_id.removeprefix("app-"))].tenant

    def admit(self) -> None:
        while self.waiting:
            finish_times = self.clock.finish_times(self.waiting)
            name = min(finish_times, key=lambda one: (finish_times[one], one))
            if sum(self.waiting[name][0]) + sum(sum(one.lengths) for one in self.running) > MEMORY:
                return
            self.running.append(Running(name, self.waiting[name].pop(0)))
            if not self.waiting[name]:
                del self.waiting[name]

    def iterate(self) -> None:
        served = 0
        for one in self.running:
            one.iteration += 1
            held = one.lengths[0] + one.iteration
            served += held
            self.service[one.application_id] += held
        self.delivered += served
        self.clock.serve(KvTokenTime(served))
        self.readings.append((self.clock.virtual_time, self.delivered))
        for name in {one.application_id for one in self.running}:
            self.clock.update(name, self.cost[name], KvTokenTime(self.service[name]))
        ended = [one.application_id for one in self.running if one.iteration == one.lengths[1]]
        self.running = [one for one in self.running if one.iteration < one.lengths[1]]
        for name in set(ended) - self.waiting.keys() - {one.application_id for one in self.running}:
            self.late[name] = self.delivered - self.due_at(name)
            self.ended_at[name] = self.delivered
            self.clock.close(name, self.cost[name])

    def due_at(self, name: ApplicationId) -> float:
        """Service delivered when V reached its finish time; when it arrived, if that was due already for what else its
        tenant had handed in."""
        reached = bisect_left(self.readings, (self.clock.finish_time(name), 0.0))
        return max(self.arrived_at[name], self.readings[reached][1] if reached < len(self.readings) else inf)


def name_of(number: int) -> ApplicationId:
    return ApplicationId(f"app-{number:03}")


def bound(jobs: list[Job]) -> float:
    return 2.0 * MEMORY * max(output for job in jobs for _, output in job.calls)


LENGTHS = st.tuples(st.integers(1, 25).map(Tokens), st.integers(1, 12).map(Tokens))
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
    late = engine.run()
    assert len(late) == len(jobs)
    assert max(late.values()) <= bound(jobs) + sum(engine.passed.values()) + 1e-6


def test_a_tenant_that_floods_delays_nobody_else() -> None:
    """With a share for each application all two hundred are served before the one."""
    mouse = ((Tokens(10), Tokens(4)),)
    crowd = [Job(0.0, mouse, "x") for _ in range(200)]
    one = Job(1.0, ((Tokens(20), Tokens(10)),) * 4, "y")
    ends = {}
    for shares in SHARES_NAMES:
        engine = Engine([*crowd, one], {"x": Weight(1000), "y": Weight(1000)}, shares_named(shares))
        engine.run()
        ends[shares] = engine.ended_at[name_of(200)]
    of_it, of_the_crowd = application_cost(one.calls), 200 * application_cost(mouse)
    assert ends["application"] > of_the_crowd
    assert ends["tenant"] <= 2 * of_it + bound([*crowd, one])


def test_a_stream_of_small_pieces_is_no_way_around() -> None:
    """One tenant's job comes whole; the other hands in a small piece whenever the one before could have been served."""
    mouse = ((Tokens(10), Tokens(4)),)
    every = float(application_cost(mouse))
    elephant = Job(0.0, ((Tokens(20), Tokens(10)),) * 20, "x")
    pieces = [Job(1.0 + every * number, mouse, "z") for number in range(300)]
    late = Engine([elephant, *pieces], {"x": Weight(1000), "z": Weight(1000)}).run()
    assert late[name_of(0)] <= bound([elephant, *pieces])
