"""What tenants were given, through the real dispatcher: shares, caps, quotas, deadlines, and what they are told."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from gateway import errors
from gateway.fairness.units import ApplicationId, Weight
from gateway.identity.terms import TenantTerms
from gateway.scheduling.model import Outcome, Waiting
from gateway.scheduling.retry_after import MAX_S
from tests.fakes.world import Client
from tests.scheduling.limited import LimitedWorld


async def ready(terms: dict[str, TenantTerms] | None = None, **options: Any) -> LimitedWorld:
    world = LimitedWorld(terms or {}, **options)
    await world.read()
    return world


async def started(world: LimitedWorld, tenant: str, application: str = "a", **request: Any) -> Client:
    deadline_s = request.pop("deadline_s", None)
    client = world.start(replace(world.of(tenant, application, **request), deadline_s=deadline_s))
    await world.settle()
    return client


async def completed(world: LimitedWorld, client: Client, **how: Any) -> None:
    client.complete(**how)
    await world.settle()
    world.time += 0.01
    await world.read()


# --- shares ---------------------------------------------------------------------------------------------------------


async def test_an_application_has_its_tenants_weight() -> None:
    world = await ready({"rich": TenantTerms(weight=Weight(4000))})
    clients = [await started(world, tenant, cost=8000) for tenant in ("rich", "poor")]
    finish_times = [client.lease.virtual_finish_time for client in clients if client.lease is not None]
    assert finish_times == [2000.0, 8000.0]


@pytest.mark.parametrize(
    ("tenant", "declared", "caps_weights", "weight"),
    [
        ("rich", None, True, 4000),
        ("rich", 1000, True, 1000),
        ("rich", 5000, True, 4000),
        ("poor", None, True, 1000),
        ("poor", 2000, True, 1000),
        ("poor", 2000, False, 2000),
    ],
)
async def test_no_declared_weight_takes_more_than_the_tenant_was_given(
    tenant: str, declared: int | None, caps_weights: bool, weight: int
) -> None:
    world = await ready({"rich": TenantTerms(weight=Weight(4000))}, caps_weights=caps_weights)
    identity = world.of(tenant, "a").identity
    described = await world.dispatcher.desk.declare(identity, weight=declared, expected_cost=800.0)
    assert described.weight == weight


async def test_where_there_are_api_keys_declared_weights_are_capped() -> None:
    world = LimitedWorld({})
    plain = type(world.dispatcher)(
        world.settings.model_copy(
            update={"tenants": world.settings.tenants.model_copy(update={"api_keys": {"key": "t"}})}
        ),
        world.store, world.engines, world.predictor, world.metrics, world.dispatcher._kinds, lambda: world.time,
    )  # fmt: skip
    described = await plain.desk.declare(world.of("t", "a").identity, weight=9000, expected_cost=800.0)
    assert described.weight == 1000


# --- caps -----------------------------------------------------------------------------------------------------------


async def test_calls_beyond_a_cap_wait_and_go_when_one_of_theirs_has_ended() -> None:
    world = await ready({"t": TenantTerms(max_running_calls=1)})
    first, second = [await started(world, "t", cost=10) for _ in range(2)]
    other = await started(world, "u", cost=1000)
    assert [client.lease is not None for client in (first, second, other)] == [True, False, True]
    await completed(world, first)
    assert second.lease is not None


async def test_more_waiting_than_a_tenant_may_have_is_told_as_a_quota() -> None:
    world = await ready({"t": TenantTerms(max_waiting_calls=1)}, capacity=10)
    await started(world, "t")
    waiting, refused = [await started(world, "t") for _ in range(2)]
    assert (waiting.error, waiting.lease) == (None, None)
    assert isinstance(refused.error, errors.QuotaExceeded)
    assert refused.error.retry_after_s is not None
    assert world.outcomes() == {"rejected": 1}


async def test_caps_hold_over_gateways_once_they_have_told_one_another() -> None:
    terms = {"t": TenantTerms(max_running_calls=2)}
    left = await ready(terms)
    right = LimitedWorld(terms, beside=left)
    await right.read()
    clients = [await started(left, "t") for _ in range(3)]
    await left.exchange()
    one = await started(right, "t")  # it is not known there yet that two run
    await right.exchange()
    late = await started(right, "t")
    assert (one.lease is not None, late.lease) == (True, None)
    await left.exchange()
    await completed(left, clients[0])
    assert clients[2].lease is None  # one here and one there
    one.complete()
    await right.settle()
    assert late.lease is None  # by what was told, two run on the left
    await right.exchange()
    await left.exchange()
    assert clients[2].lease is not None


async def test_without_the_ledger_each_gateway_counts_alone(caplog: pytest.LogCaptureFixture) -> None:
    terms = {"t": TenantTerms(max_running_calls=1, tokens_per_minute=1000)}
    left = await ready(terms)
    right = LimitedWorld(terms, beside=left)
    await right.read()
    await started(left, "t")
    await left.exchange()
    waiting = await started(right, "t")
    waiting_elsewhere = waiting.lease is None
    await right.exchange()
    left.ledger.is_down = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await right.exchange()
    assert caplog.text.count("usage ledger is away") == 1
    assert (waiting_elsewhere, waiting.lease is not None) == (False, True)


# --- quotas ---------------------------------------------------------------------------------------------------------


async def test_tokens_are_refused_beyond_the_quota_and_let_in_when_told() -> None:
    world = await ready({"t": TenantTerms(tokens_per_minute=220)})
    first, second = [await started(world, "t") for _ in range(2)]  # 110 each
    refused = await started(world, "t")
    assert isinstance(refused.error, errors.QuotaExceeded)
    assert refused.error.retry_after_s == pytest.approx(30.0)
    await completed(world, first)
    second.fail()  # it has used nothing
    await world.settle()
    assert (await started(world, "t")).lease is not None
    assert isinstance((await started(world, "t")).error, errors.QuotaExceeded)
    world.time += 30.0
    assert (await started(world, "t")).lease is not None
    assert (await started(world, "u")).lease is not None


async def test_kv_token_time_is_charged_as_the_engine_measured_it() -> None:
    world = await ready({"t": TenantTerms(kv_token_time_per_hour=10_000.0)})
    await completed(world, await started(world, "t"), service=9_500.0)
    refused = await started(world, "t")  # 100 tokens in, 10 out: 1055
    assert isinstance(refused.error, errors.QuotaExceeded)
    assert refused.error.retry_after_s == pytest.approx(555 * 0.36, rel=0.01)


async def test_who_hangs_up_before_the_usage_is_told_pays_what_was_expected() -> None:
    world = await ready({"t": TenantTerms(tokens_per_minute=220)})
    client = await started(world, "t")
    assert client.lease is not None
    client.lease.first_byte()
    client.leave()
    await world.settle()
    held = await started(world, "t")
    assert held.lease is not None
    assert isinstance((await started(world, "t")).error, errors.QuotaExceeded)


async def test_quotas_hold_over_gateways_and_nothing_is_counted_twice() -> None:
    terms = {"t": TenantTerms(tokens_per_minute=600)}
    left = await ready(terms)
    right = LimitedWorld(terms, beside=left)
    await right.read()
    await completed(right, await started(right, "t"))
    for _ in range(4):
        await completed(left, await started(left, "t"))
    left.ledger.loses_answers = True
    await left.exchange()
    left.ledger.loses_answers = False
    await left.exchange()
    await right.exchange()
    assert right.dispatcher._metering.quotas.wait_s("t", 50, 0, right.time) == 0
    wait_s = right.dispatcher._metering.quotas.wait_s("t", 100, 0, right.time)
    assert wait_s == pytest.approx(5.0, abs=0.5)  # 550 of 600 are used


# --- deadlines and places -------------------------------------------------------------------------------------------


async def test_a_call_leaves_the_queue_at_its_own_deadline() -> None:
    world = await ready(capacity=10, queue_timeout_s=60.0)
    await started(world, "t")
    hasty, patient, endless = [await started(world, "t", deadline_s=deadline_s) for deadline_s in (5.0, None, 1e9)]
    await world.pass_time(5.0)
    assert isinstance(hasty.error, errors.QueueTimeout)
    assert (patient.error, endless.error) == (None, None)
    await world.pass_time(55.0)
    assert isinstance(patient.error, errors.QueueTimeout)
    assert isinstance(endless.error, errors.QueueTimeout)
    assert world.outcomes() == {"evicted": 3}


async def test_a_deadline_that_has_passed_on_arrival() -> None:
    world = await ready()
    late = await started(world, "t", deadline_s=-1.0)
    assert isinstance(late.error, errors.QueueTimeout)
    assert world.outcomes() == {"rejected": 1}
    assert await world.store.get(ApplicationId("t/a")) is None  # nobody was asked for it


async def test_where_a_waiting_call_stands() -> None:
    world = await ready(capacity=100)
    running = [await started(world, "t", "a", cost=100) for _ in range(2)]
    first, second = [await started(world, "t", "a") for _ in range(2)]
    last = await started(world, "u", "b", cost=900)
    waits = [world.dispatcher.waiting(client.request.call_id) for client in (running[0], first, second, last)]
    # Two have left in the least time that a pace is taken over, 2.5 s.
    assert waits == [None, Waiting(0, 1.25), Waiting(1, 2.5), Waiting(2, 3.75)]
    described = await world.dispatcher.desk.describe(ApplicationId("t/a"))
    assert (described.expected_wait_s, described.calls_waiting) == (1.25, 2)
    assert world.dispatcher.waiting("nobody's") is None


# --- told and counted -----------------------------------------------------------------------------------------------


async def test_the_more_are_refused_the_later_they_are_told_to_come_back() -> None:
    world = await ready(capacity=10, max_queued_calls=1)
    await started(world, "t")
    await started(world, "t")
    told = []
    for _ in range(200):
        refused = await started(world, "t")
        assert isinstance(refused.error, errors.QueueFull)
        told.append(refused.error.retry_after_s or 0)
    assert told == sorted(told)
    assert told[-1] > told[0]
    assert told[-1] <= MAX_S


async def test_what_a_tenant_and_an_application_have_used() -> None:
    world = await ready(capacity=150)
    await completed(world, await started(world, "t"), service=1234.0)
    await completed(world, await started(world, "t"), usage=False, service=66.0)
    failing = await started(world, "t")
    failing.fail()
    await world.settle()
    world.dispatcher.begin_drain()
    await started(world, "t")
    usage = world.dispatcher.usage_of("t")
    assert usage.total.calls == {Outcome.COMPLETED: 2, Outcome.FAILED: 1, Outcome.REJECTED: 1}
    assert (usage.total.prompt_tokens, usage.total.completion_tokens) == (100, 10)
    assert usage.total.kv_token_time == 1300.0
    assert usage.today == usage.this_hour == usage.total
    assert world.dispatcher.usage_of("u").total.calls == {}
    described = await world.dispatcher.desk.describe(ApplicationId("t/a"))
    assert (described.num_calls, described.prompt_tokens, described.completion_tokens) == (3, 100, 10)


async def test_the_ledger_is_told_once_a_second_beside_the_calls() -> None:
    world = await ready({"t": TenantTerms(tokens_per_minute=600)})
    await completed(world, await started(world, "t"))
    running = asyncio.create_task(world.dispatcher._usage_feed.run())
    async with asyncio.timeout(10):
        await world.ledger.was_told.wait()
    running.cancel()
    assert len(world.ledger.inner) == 1
