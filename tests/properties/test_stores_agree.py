"""Two stores, one answer: whatever happens, memory and a real Redis agree on every float to the last bit.

Random floats alone meet neither the boundaries of the clock nor two equal finish times, so rules of their own do: the
service that just reaches the next departure, one ulp more and one less, costs that finish together, skewed clocks.
A state machine tries every operation in any order; what shows only in the last bit of a few sums wants many sums of
crooked numbers, more than its examples have, so walks and a search for sums that round the wrong way stand beside it.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from redis import Redis

from gateway.fairness import SHARES_NAMES, ApplicationClock, SharesName, TenantClock, VirtualClock
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import Arrival, StateStore
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore

pytestmark = pytest.mark.redis

NAMES = [ApplicationId(name) for name in ("a", "b", "c", "d", "é", "f")]
IDS = st.sampled_from(NAMES)
KINDS = st.sampled_from(["agent", "chat"])
TENANT_WEIGHTS = st.sampled_from([1000, 1000, 1000, 7, 3000]).map(Weight)
AWKWARD = st.sampled_from([0.0, -0.0, 0.1, 1 / 3, 5e-324, 2.3e-308, 1e-17, 999_999_999_999_999.9, 1e15])
CROOKED = st.integers(0, 9999).map(lambda n: n / 7)
COSTS = st.one_of(st.integers(0, 30).map(float), CROOKED, CROOKED, st.floats(0, 1e4), AWKWARD).map(KvTokenTime)
WEIGHTS = st.sampled_from([1000, 1000, 1, 3, 7, 333, 3000, 1_000_000_000]).map(Weight)
TIMES_S = st.one_of(st.integers(-3, 12).map(float), st.floats(1.7e9, 1.7e9 + 10))
SOURCES = st.sampled_from(["engine", "other"])
INCARNATIONS = st.integers(-1, 2).map(lambda step: 1_763_683_200_123_456_789 + step)
BUMPS = st.sampled_from([-1, 0, 1])

_T = TypeVar("_T")


class StoresAgree(RuleBasedStateMachine):
    def __init__(
        self, runner: asyncio.Runner, redis: RedisStore, flush: Callable[[], object], shares: SharesName = "application"
    ) -> None:
        super().__init__()
        flush()
        self.runner = runner
        self.memory = MemoryStore(shares)
        self.redis = redis
        self.counters: dict[str, float] = {}

    def both(self, operation: Callable[[StateStore], Awaitable[_T]]) -> _T:
        """Do it on both and compare the answer, then everything that can be asked."""
        return self.runner.run(self.both_answer(operation))

    async def both_answer(self, operation: Callable[[StateStore], Awaitable[_T]]) -> _T:
        answer = await operation(self.memory)
        assert bits(await operation(self.redis)) == bits(answer)
        for look in (
            lambda store: store.snapshot(100),
            finish_times,
            lambda store: store.mean_cost("agent"),
            lambda store: store.mean_cost("chat"),
        ):
            assert bits(await look(self.redis)) == bits(await look(self.memory))
        return answer

    @property
    def gps(self) -> VirtualClock:
        """The clock of those who have the shares."""
        clock = self.memory._clock
        return clock._clock if isinstance(clock, TenantClock) else cast(ApplicationClock, clock)

    @property
    def virtual_time(self) -> float:
        return self.gps.virtual_time

    def until_departure(self) -> float:
        """Service until the first of the backlogged, applications or tenants, departs."""
        clock = self.gps
        return (clock.finish_time(clock.backlogged()[0]) - clock.virtual_time) * clock.weight_sum / 1000

    def has_backlog(self) -> bool:
        return bool(self.gps.backlogged())

    # --- applications -----------------------------------------------------------------------------------------------

    @rule(
        name=IDS,
        kind=KINDS,
        cost=COSTS,
        weight=WEIGHTS,
        now=TIMES_S,
        parent=st.none() | IDS,
        tenant_weight=TENANT_WEIGHTS,
    )
    def arrive(
        self,
        name: ApplicationId,
        kind: str,
        cost: KvTokenTime,
        weight: Weight,
        now: float,
        parent: ApplicationId | None,
        tenant_weight: Weight = UNIT_WEIGHT,
    ) -> None:
        arrival = Arrival(name, tenant_of(name), kind, cost, weight, parent, tenant_weight)
        self.both(lambda store: store.arrive(arrival, now))

    @precondition(has_backlog)
    @rule(name=IDS, which=st.integers(0, 4), now=TIMES_S)
    def arrive_to_finish_with_another(self, name: ApplicationId, which: int, now: float) -> None:
        clock = self.gps
        finishes = [clock.finish_time(other) for other in clock.backlogged()]
        cost = KvTokenTime(min(finishes[which % len(finishes)] - clock.virtual_time, 1e15))
        self.both(lambda store: store.arrive(Arrival(name, tenant_of(name), "agent", cost, Weight(1000)), now))

    @rule(name=IDS, cost=COSTS)
    def revise(self, name: ApplicationId, cost: KvTokenTime) -> None:
        self.both(lambda store: store.revise(name, cost))

    @rule(name=IDS, bump=BUMPS)
    def revise_to_the_clock(self, name: ApplicationId, bump: int) -> None:
        """A finish time at V, or one ulp of the cost beside it; behind V if the application started later."""
        standing = self.runner.run(self.memory.get(name))
        start = 0.0 if standing is None else standing.application.virtual_start
        cost = beside(min(max(self.virtual_time - start, 0.0), 1e14), bump)
        self.both(lambda store: store.revise(name, KvTokenTime(cost)))

    @rule(name=IDS, service=COSTS, now=TIMES_S)
    def charge(self, name: ApplicationId, service: KvTokenTime, now: float) -> None:
        self.both(lambda store: store.charge({name: service}, now))

    @rule(services=st.dictionaries(IDS, COSTS, max_size=4), now=TIMES_S)
    def charge_several(self, services: dict[ApplicationId, KvTokenTime], now: float) -> None:
        self.both(lambda store: store.charge(services, now))

    @rule(name=IDS, now=TIMES_S, bump=BUMPS)
    def charge_what_is_left(self, name: ApplicationId, now: float, bump: int) -> None:
        """Where a tenant has the share, its own clock comes up to this application then."""
        standing = self.runner.run(self.memory.get(name))
        if standing is not None:
            left = max(0.0, standing.application.predicted_cost - standing.application.service)
            self.both(lambda store: store.charge({name: KvTokenTime(beside(min(left, 1e14), bump))}, now))

    @rule(names=st.lists(IDS, max_size=4), now=TIMES_S)
    def touch(self, names: list[ApplicationId], now: float) -> None:
        self.both(lambda store: store.touch(names, now))

    @rule(name=IDS, cost=st.none() | COSTS)
    def close(self, name: ApplicationId, cost: KvTokenTime | None) -> None:
        self.both(lambda store: store.close(name, cost))

    @rule(name=IDS, kind=KINDS, cost=COSTS, weight=WEIGHTS, now=TIMES_S)
    def close_and_come_back(
        self, name: ApplicationId, kind: str, cost: KvTokenTime, weight: Weight, now: float
    ) -> None:
        self.both(lambda store: store.close(name))
        self.both(lambda store: store.arrive(Arrival(name, tenant_of(name), kind, cost, weight), now))

    @rule(idle_before=TIMES_S, limit=st.integers(0, 3))
    def expire(self, idle_before: float, limit: int) -> None:
        self.both(lambda store: store.expire(idle_before, limit))

    @rule(name=IDS, limit=st.integers(0, 5))
    def look(self, name: ApplicationId, limit: int) -> None:
        self.both(lambda store: store.get(name))
        self.both(lambda store: store.snapshot(limit))

    # --- the clock --------------------------------------------------------------------------------------------------

    @rule(service=COSTS)
    def serve(self, service: KvTokenTime) -> None:
        self.both(lambda store: store.serve(service))

    @precondition(has_backlog)
    @rule(bump=BUMPS)
    def serve_to_the_boundary(self, bump: int) -> None:
        service = KvTokenTime(beside(self.until_departure(), bump))
        self.both(lambda store: store.serve(service))

    @rule(source=SOURCES, incarnation=INCARNATIONS, counter=COSTS)
    def report(self, source: str, incarnation: int, counter: KvTokenTime) -> None:
        """New, restarted, late, repeated or backward, as it comes."""
        self.counters[source] = counter
        self.both(lambda store: store.report(source, incarnation, counter))

    @rule(source=SOURCES, incarnation=INCARNATIONS, grown=COSTS)
    def report_growth(self, source: str, incarnation: int, grown: KvTokenTime) -> None:
        self.counters[source] = self.counters.get(source, 0.0) + grown
        counter = KvTokenTime(self.counters[source])
        self.both(lambda store: store.report(source, incarnation, counter))
        self.both(lambda store: store.report(source, incarnation, counter))

    @rule(reading=COSTS)
    def restore(self, reading: float) -> None:
        self.both(lambda store: store.restore(VirtualTime(reading)))

    @precondition(has_backlog)
    @rule(which=st.integers(0, 4), bump=BUMPS)
    def restore_to_the_boundary(self, which: int, bump: int) -> None:
        clock = self.gps
        finishes = [clock.finish_time(name) for name in clock.backlogged()]
        reading = VirtualTime(beside(finishes[which % len(finishes)], bump))
        self.both(lambda store: store.restore(reading))


async def finish_times(store: StateStore) -> tuple[tuple[ApplicationId, float], ...]:
    return tuple(sorted((await store.finish_times([*NAMES, ApplicationId("unknown")])).items()))


def tenant_of(name: ApplicationId) -> str:
    """Three, of three, two and one application."""
    return {"a": "x", "b": "x", "c": "x", "d": "ÿ", "é": "ÿ"}.get(name, "")


def beside(value: float, bump: int) -> float:
    """`value`, or its neighbour."""
    return max(math.nextafter(value, bump * math.inf), 0.0) if bump else value


def bits(value: Any) -> Any:
    """`value` with every float in hexadecimal: equal only if equal bit for bit, type for type."""
    if is_dataclass(value):
        return {field.name: bits(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [bits(item) for item in value]
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return value.hex() if isinstance(value, float) else (type(value), value)


@pytest.mark.parametrize("shares", SHARES_NAMES)
def test_the_stores_agree(redis_url: str, shares: SharesName) -> None:
    agree(redis_url, shares)


def test_the_stores_agree_behind_the_first_of_a_tenant(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With finish times added up for one application of a tenant only, as if it had very many."""
    for module in ("gateway.fairness.tenant_clock", "gateway.stores.redis_scripts"):
        monkeypatch.setattr(f"{module}.EXACT", 1)
    agree(redis_url, "tenant")


def agree(redis_url: str, shares: SharesName) -> None:
    with asyncio.Runner() as runner, Redis.from_url(redis_url) as client:
        redis = RedisStore(redis_url, timeout_s=10, shares=shares)
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: StoresAgree(runner, redis, client.flushdb, shares),
            settings=settings(max_examples=25, stateful_step_count=50),
        )
        runner.run(redis.aclose())


@pytest.mark.parametrize("shares", SHARES_NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_stores_agree_on_walks(redis_url: str, seed: int, shares: SharesName) -> None:
    chance = random.Random(seed)
    with asyncio.Runner() as runner, Redis.from_url(redis_url) as client:
        redis = RedisStore(redis_url, timeout_s=10, shares=shares)
        for _ in range(40):
            # Short walks, each from V = 0: far from zero a gap's last bits no longer reach the sum.
            walk(StoresAgree(runner, redis, client.flushdb, shares), chance, num_steps=10)
        runner.run(redis.aclose())


def walk(pair: StoresAgree, chance: random.Random, num_steps: int) -> None:
    for step in range(num_steps):
        name = ApplicationId(chance.choice("abcd"))
        cost, weight = crooked_cost(chance), crooked_weight(chance)
        match chance.randrange(9):
            case 0 if pair.has_backlog():
                pair.arrive_to_finish_with_another(name, chance.randrange(5), float(step))
            case 1:
                pair.close(name, chance.choice([None, cost]))
            case 2:
                pair.revise(name, cost)
            case 3 | 4 | 5 if pair.has_backlog():
                pair.serve_to_the_boundary(chance.choice([-1, 0, 1]))
            case 6:
                pair.charge(name, cost, float(step))
            case 7 if pair.has_backlog():
                # Beyond the first departure: what is left over carries the last bits on.
                pair.serve(KvTokenTime(pair.until_departure() * chance.uniform(1, 3)))
            case _:
                tenant_weight = Weight(chance.choice([1000, 1000, 3000]))
                pair.arrive(name, "agent", cost, weight, float(step), None, tenant_weight)


@pytest.mark.parametrize("bump", [0, -1], ids=["exactly", "one ulp less"])
def test_the_stores_agree_where_rounding_misses_the_departure(redis_url: str, bump: int) -> None:
    """Service that reaches the first departure, whose quotient falls short of it; and service that does not, whose
    quotient lies beyond it. The first is 1 of 30 such sums, the second 1 of 1,000: they are searched for."""
    chance = random.Random(bump)
    with asyncio.Runner() as runner, Redis.from_url(redis_url) as client:
        redis = RedisStore(redis_url, timeout_s=10)
        for _ in range(10):
            pair = StoresAgree(runner, redis, client.flushdb)
            applications, finish, service = a_miss(chance, bump)
            for name, (cost, weight) in zip("abcd", applications, strict=False):
                pair.arrive(ApplicationId(name), "agent", cost, weight, 0.0, None)
            assert service == beside(pair.until_departure(), bump)
            pair.serve(service)
            assert pair.virtual_time == finish
        runner.run(redis.aclose())


def a_miss(chance: random.Random, bump: int) -> tuple[list[tuple[KvTokenTime, Weight]], float, KvTokenTime]:
    """Applications that arrive at V = 0, the first one's finish time and the service (see above)."""
    while True:
        applications = [(crooked_cost(chance), crooked_weight(chance)) for _ in range(chance.randint(1, 4))]
        finish = min(cost * 1000 / weight for cost, weight in applications)
        weight_sum = sum(weight for _, weight in applications)
        service = KvTokenTime(beside(finish * weight_sum / 1000, bump))
        quotient = service * 1000 / weight_sum
        if quotient > finish if bump else quotient < finish:
            return applications, finish, service


def crooked_cost(chance: random.Random) -> KvTokenTime:
    return KvTokenTime(chance.uniform(0, 1000))


def crooked_weight(chance: random.Random) -> Weight:
    return Weight(chance.choice([1000, 3000, 7, 333, chance.randrange(1, 5000)]))
