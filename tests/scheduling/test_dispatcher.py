"""The dispatcher with its real parts, in a world whose time, engines and failures are the test's."""

import asyncio
from dataclasses import replace

import pytest

from gateway import errors
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens
from gateway.ports import Arrival, FinishedCall
from tests.fakes.world import Client, World

A, B, C = (ApplicationId(f"anonymous/{name}") for name in "abc")


def arrival_of(name: str) -> Arrival:
    return Arrival(ApplicationId(f"anonymous/{name}"), "anonymous", "k", KvTokenTime(100.0), UNIT_WEIGHT)


async def ready(**settings: object) -> World:
    world = World(**settings)  # type: ignore[arg-type]
    await world.read()
    return world


async def started(world: World, application: str, **request: object) -> Client:
    client = world.start(world.request(application, **request))  # type: ignore[arg-type]
    await world.settle()
    return client


async def test_the_smaller_application_goes_first() -> None:
    world = await ready(capacity=100)
    first = await started(world, "a", cost=9000)
    waiting = [await started(world, name, cost=cost) for name, cost in (("a", None), ("b", 9500), ("c", 100))]
    # c outranks what waits inside the engine (the margin); the others wait here.
    assert [client.lease is not None for client in [first, *waiting]] == [True, True, False, True]
    assert waiting[2].lease is not None
    assert waiting[2].lease.virtual_finish_time == 100
    for client in (first, waiting[0]):
        client.complete()
        await world.settle()
    assert waiting[1].lease is not None


async def test_one_that_has_had_more_than_was_predicted_waits_behind_the_smaller() -> None:
    world = await ready(capacity=100)
    guessed_too_small = await started(world, "a", cost=10)
    guessed_too_small.complete(service=5000.0)
    await world.settle()
    await world.read()
    await world.sweep()
    await started(world, "blocker", cost=1)
    late = await started(world, "a")
    assert late.lease is not None  # the one that waits inside the engine
    assert late.lease.virtual_finish_time == 5000
    smaller, larger = [await started(world, name, cost=cost) for name, cost in (("b", 4000), ("c", 6000))]
    assert smaller.lease is not None
    assert larger.lease is None


async def test_every_outcome_is_told_apart() -> None:
    world = await ready(capacity=100, max_queued_calls=1, queue_timeout_s=10.0)
    running, leaving, failing = [await started(world, "a", tokens=tokens) for tokens in (50, 50, 50)]
    queued = await started(world, "a")
    rejected = await started(world, "a")
    assert isinstance(rejected.error, errors.QueueFull)
    await world.pass_time(10.0)
    assert isinstance(queued.error, errors.QueueTimeout)
    running.complete()
    leaving.leave()
    failing.fail()
    await world.settle()
    assert isinstance(failing.error, errors.EngineUnreachable)
    assert world.outcomes() == {"completed": 1, "cancelled": 1, "failed": 1, "rejected": 1, "evicted": 1}


async def test_a_client_that_leaves_the_queue_is_cancelled() -> None:
    world = await ready(capacity=10)
    await started(world, "a")
    waiting = await started(world, "a")
    waiting.leave()
    await world.settle()
    assert world.outcomes() == {"cancelled": 1}
    assert world.gauge("calls_queued") == 0


async def test_an_application_is_charged_what_the_engine_measured_and_settled_at_it() -> None:
    world = await ready()
    client = await started(world, "a", cost=700)
    client.complete(service=1234.0)
    await world.settle()
    await world.read()
    record = await world.dispatcher.desk.close(A)
    assert record.service == 1234.0
    assert await world.store.get(A) is None
    # The next of its kind is predicted by what this one cost.
    await started(world, "b")
    standing = await world.store.get(B)
    assert standing.application.predicted_cost == 1234.0


async def test_without_our_patch_the_formula_serves_and_moves_the_clock() -> None:
    world = await ready(modes=("unordered",))
    client = await started(world, "a", cost=700)
    client.complete()  # 100 tokens in, 10 out
    await world.settle()
    await world.read()
    await world.sweep()
    standing = await world.store.get(A)
    assert standing.application.service == 100 * 10 + 55
    assert standing.virtual_time == 700  # all of its backlog was served


async def test_several_records_of_one_call_are_all_charged() -> None:
    world = await ready()
    client = await started(world, "a")
    engine, call_id = world.engines[0], client.request.call_id
    child = FinishedCall(0, call_id, KvTokenTime(300.0), Tokens(1), Tokens(0), Tokens(1), 0)
    engine.records.append(child)
    await world.read()  # a child of `n` = 2 is done before the answer is
    client.complete(service=500.0)
    await world.settle()
    world.time += 1
    await world.read()
    await world.sweep()
    assert (await world.store.get(A)).application.service == 800.0


async def test_an_engine_that_was_restarted_leaves_the_formula() -> None:
    world = await ready()
    client = await started(world, "a")
    world.engines[0].restart()
    client.complete()
    await world.settle()
    world.time += 1
    await world.read()
    await world.read()
    await world.sweep()
    assert (await world.store.get(A)).application.service == 100 * 10 + 55


async def test_a_record_that_never_comes_is_given_up() -> None:
    world = await ready()
    client = await started(world, "a")
    world.engines[0].holding.clear()
    client.complete()
    await world.settle()
    await world.read()
    await world.sweep()
    assert (await world.store.get(A)).application.service == 0
    await world.pass_time(31.0)
    await world.read()
    await world.sweep()
    assert (await world.store.get(A)).application.service == 100 * 10 + 55


async def test_the_final_call_closes_its_application() -> None:
    world = await ready()
    first = await started(world, "a")
    final = await started(world, "a", final=True)
    final.complete(service=10.0)
    await world.settle()
    world.time += 1
    await world.read()
    assert await world.store.get(A) is not None  # its first call still runs
    first.complete(service=20.0)
    await world.settle()
    world.time += 1
    await world.read()
    assert await world.store.get(A) is None
    with pytest.raises(errors.ApplicationClosed):
        await world.dispatcher.desk.close(A)
    with pytest.raises(errors.ApplicationNotFound):
        await world.dispatcher.desk.close(B)


async def test_a_call_after_the_close_opens_a_new_episode_that_starts_where_the_last_ended() -> None:
    world = await ready()
    other = await started(world, "b", cost=10_000)
    client = await started(world, "a", cost=500)
    client.complete(service=500.0)
    await world.settle()
    world.time += 1
    await world.read()
    await world.dispatcher.desk.close(A)
    again = await started(world, "a", cost=500)
    assert again.lease is not None
    assert again.lease.virtual_finish_time == 1000.0  # closing and opening gained nothing
    assert other.lease is not None


async def test_an_application_that_was_never_served_costs_nothing_and_teaches_nothing() -> None:
    world = await ready()
    client = await started(world, "a", cost=500)
    client.fail()
    await world.settle()
    world.time += 1
    await world.read()
    await world.dispatcher.desk.close(A)
    assert (await world.store.snapshot(10)).backlogged == ()
    assert await world.store.mean_cost("k") is None


async def test_the_idle_are_closed_and_the_busy_are_not() -> None:
    world = await ready(queue_timeout_s=1000.0)
    idle = await started(world, "a")
    busy = await started(world, "b")
    idle.complete(service=100.0)
    await world.settle()
    world.time += 1
    await world.read()
    for _ in range(8):
        await world.pass_time(10.0)
        await world.sweep()
    assert await world.store.get(A) is None
    assert await world.store.get(B) is not None
    assert busy.lease is not None


async def test_calls_that_arrive_together_ask_the_store_once() -> None:
    world = await ready()
    clients = [world.start(world.request("a")) for _ in range(5)]
    await world.settle()
    assert all(client.lease is not None for client in clients)
    arrivals = world.metrics.registry.get_sample_value(
        "justitia_store_operation_seconds_count", {"operation": "arrive", "policy": "justitia"}
    )
    assert arrivals == 1


async def test_without_the_store_calls_go_on_and_order_recovers() -> None:
    world = await ready(capacity=10)
    held = await started(world, "a", cost=100)
    await started(world, "a")
    world.store.is_down = True
    await world.sweep()
    late = await started(world, "b", cost=900)
    early = await started(world, "c", cost=50)
    assert early.lease is not None  # outranks what waits inside, by its provisional place
    assert late.lease is None
    readiness = await world.dispatcher.readiness()
    assert (readiness.store_is_up, readiness.is_ready) == (False, False)
    world.store.is_down = False
    await world.sweep()
    assert (await world.dispatcher.readiness()).is_ready
    assert [r.application_id for r in (await world.store.snapshot(9)).applications] == [C, A, B]
    assert held.error is None


async def test_a_store_that_lost_its_memory_is_filled_again() -> None:
    world = await ready()
    client = await started(world, "a", cost=700)
    await started(world, "b", cost=900)
    client.complete(service=600.0)
    await world.settle()
    world.time += 1
    await world.read()
    await world.sweep()
    before = await world.store.snapshot(9)
    assert before.virtual_time == 300.0  # 600 shared by two
    world.store.flush()
    await world.sweep()
    after = await world.store.snapshot(9)
    assert after.virtual_time == 300.0
    # a has had 600 of its 700: what is left counts.
    assert {r.application_id: r.virtual_finish_time for r in after.applications} == {A: 400.0, B: 1200.0}


async def test_a_changed_finish_time_reranks_what_is_in_the_engine() -> None:
    world = await ready()
    client = await started(world, "a", cost=700)
    await started(world, "b", cost=900)
    client.complete(service=600.0)
    await world.settle()
    world.time += 1
    await world.read()
    await world.sweep()
    rerank = asyncio.create_task(world.dispatcher._feeds["e0"]._rerank_for_ever())
    world.store.flush()  # b is entered anew at the clock of 300: its finish time moves
    await world.sweep()
    rerank.cancel()
    assert world.engines[0].reranked == [{B: 1200.0}]


async def test_two_gateways_count_one_engine_once_and_share_one_order() -> None:
    left = await ready()
    right = World(beside=left)
    await right.read()
    a = await started(left, "a", cost=5000)
    b = await started(right, "b", cost=3000)
    a.complete(service=1000.0)
    await left.settle()
    for _ in range(3):
        await left.read()
        await right.read()
    snapshot = await left.store.snapshot(9)
    assert snapshot.virtual_time == 500.0
    assert snapshot.backlogged == (B, A)
    late = await started(right, "c", cost=100)
    assert late.lease is not None
    assert late.lease.virtual_finish_time == 600.0
    assert b.error is None


async def test_why_an_application_waits() -> None:
    world = await ready(capacity=100)
    await started(world, "a", cost=1000)
    await started(world, "b", cost=2000)
    waiting = await started(world, "b")
    assert waiting.lease is None
    world.engines[0].service = 0.0
    await world.read()
    world.time += 1
    world.engines[0].service = 500.0
    await world.read()
    description = await world.dispatcher.desk.describe(B)
    assert (description.position, description.ahead) == (2, (A,))
    assert (description.calls_waiting, description.calls_running) == (1, 1)
    # 500 in the last of ten seconds: a rate of 50 a second, and 3000 to do.
    assert description.expected_finish_s == pytest.approx(60.0)
    with pytest.raises(errors.ApplicationNotFound):
        await world.dispatcher.desk.describe(C)


async def test_one_that_a_listing_does_not_show_is_described_all_the_same() -> None:
    world = await ready()
    for i in range(1000):
        await world.store.arrive(arrival_of(f"x{i:04}"), world.time)
    await world.dispatcher.desk.declare(world.identity("z"), weight=None, expected_cost=9e9)
    description = await world.dispatcher.desk.describe(ApplicationId("anonymous/z"))
    assert description.position == 1001
    assert len(await world.dispatcher.desk.list_all()) == 1000


async def test_declared_beforehand_with_weight_and_cost() -> None:
    world = await ready()
    declared = await world.dispatcher.desk.declare(
        replace(world.identity("a"), kind="report"), weight=2000, expected_cost=800.0
    )
    assert (declared.kind, declared.weight, declared.virtual_finish_time) == ("report", 2000, 400.0)
    client = await started(world, "a", cost=99)
    assert client.lease is not None
    assert client.lease.virtual_finish_time == 400.0


async def test_draining_refuses_new_calls_and_lets_old_ones_finish() -> None:
    world = await ready(capacity=100)
    running = await started(world, "a")
    await started(world, "a")
    queued = await started(world, "a")
    world.dispatcher.begin_drain()
    world.dispatcher.begin_drain()
    await world.settle()
    assert isinstance(queued.error, errors.ShuttingDown)
    assert isinstance((await started(world, "b")).error, errors.ShuttingDown)
    running.complete()
    await world.settle()
    assert running.error is None


async def test_an_engine_that_vanishes_and_comes_back() -> None:
    world = await ready()
    world.engines[0].is_down = True
    await world.read()
    assert (await world.dispatcher.readiness()).engines == {"e0": "down"}
    assert world.dispatcher.models() == ()
    client = await started(world, "a")
    assert client.lease is None
    world.engines[0].is_down = False
    await world.read()
    assert client.lease is not None
    assert world.dispatcher.models() == ("m",)
    assert world.dispatcher._feeds["e0"].mode is not None


async def test_what_an_engine_counts_is_counted_on_over_silences_and_restarts() -> None:
    world = World()
    engine = world.engines[0]

    async def counted(preemptions: int, passed: int) -> tuple[float, ...]:
        engine.preemptions, engine.passed = preemptions, passed
        await world.read()
        labels = {"policy": "justitia", "engine": engine.name}
        names = ("preemptions", "passed_calls")
        found = [world.metrics.registry.get_sample_value(f"justitia_engine_{name}_total", labels) for name in names]
        return tuple(value or 0.0 for value in found)

    assert await counted(5, 9) == (0, 0)  # what was before us is not ours to tell
    assert await counted(7, 10) == (2, 1)
    engine.is_down = True
    assert await counted(8, 12) == (2, 1)
    engine.is_down = False
    assert await counted(8, 12) == (3, 3)
    engine.restart()
    assert await counted(9, 20) == (3, 3)
    assert await counted(10, 22) == (4, 5)


async def test_an_unknown_model_is_refused() -> None:
    world = await ready()
    request = world.request("a")
    client = world.start(replace(request, model="nobody's"))
    await world.settle()
    assert isinstance(client.error, errors.ModelNotFound)


async def test_a_store_that_comes_and_goes_keeps_no_idle_application_open() -> None:
    world = await ready()
    client = await started(world, "a", cost=700)
    client.complete(service=600.0)
    await world.settle()
    for _ in range(4):
        world.time += 25
        world.store.is_down = True
        await world.sweep()
        world.store.is_down = False
        await world.read()
        await world.sweep()
        await world.sweep()
    assert (await world.store.snapshot(9)).applications == ()
