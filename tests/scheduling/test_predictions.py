"""What the dispatcher makes of predictions: asked once, refined as calls end, kept when the application closes."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.identity import DEFAULT_KIND
from gateway.ports import ApplicationRecord
from tests.fakes.world import Client, World


@dataclass
class Scripted:
    """As its only user, the test says what it answers; `asked` and `seen` are what it was told."""

    cost: float = 5000.0
    refined_cost: float = 5000.0

    def __post_init__(self) -> None:
        self.version = "0123456789abcdef"
        self.about: dict[str, Any] = {}
        self.model = self
        self.kinds = ("k",)
        self.asked: list[Any] = []
        self.seen: list[Any] = []

    def quantiles(self, asked: Sequence[Any]) -> Any:
        self.asked += asked
        return [[math.log(self.cost * share) for share in (0.5, 1.0, 2.0)] for _ in asked]

    def refined(self, asked: Any, progress: Any) -> Any:
        self.seen.append(progress)
        return [math.log(self.refined_cost * share) for share in (0.5, 1.0, 2.0)]


async def ready(script: Scripted | None) -> World:
    world = World(capacity=1000)
    world.predictor.artifact = script
    await world.read()
    return world


async def started(world: World, application: str, **fields: Any) -> Client:
    client = world.start(replace(world.request(application), **fields))
    await world.settle()
    return client


async def ended(world: World, client: Client, service: float) -> None:
    client.complete(service=service)
    await world.settle()
    await world.read()
    await world.sweep()


async def closed(world: World) -> None:
    await world.pass_time(61)
    await world.sweep()


async def stored(world: World, application: str) -> ApplicationRecord:
    standing = await world.store.get(world.identity(application).root)
    assert standing is not None
    record: ApplicationRecord = standing.application
    return record


def finish_time(client: Client) -> float:
    assert client.lease is not None
    return client.lease.virtual_finish_time


async def test_the_first_call_is_asked_about_and_no_other() -> None:
    script = Scripted()
    world = await ready(script)
    first = await started(world, "a", text="what is asked", num_tools=2)
    await started(world, "a", text="something else")
    assert finish_time(first) == pytest.approx(5000)
    [asked] = script.asked
    assert (asked.kind, asked.num_tools, asked.prompt_tokens, asked.max_tokens) == ("k", 2, 100, 10)
    assert asked.lengths[0] == pytest.approx(math.log1p(len("what is asked")))
    assert len(asked.facts) == 2


async def test_what_an_application_cost_is_kept_with_what_was_known_and_predicted() -> None:
    world = await ready(Scripted(refined_cost=4000.0))
    one, other = await started(world, "a", text="what is asked"), await started(world, "a")
    await ended(world, one, 700.0)
    await ended(world, other, 2300.0)
    await closed(world)
    [kept] = world.closed
    assert (kept.kind, kept.cost, kept.predictor) == ("k", 3000.0, "0123456789abcdef")
    assert (kept.predicted_cost, kept.low, kept.high) == pytest.approx((5000.0, 2500.0, 10000.0))
    assert kept.features["words"] == []
    assert [(p.num_ended, p.num_open, p.open_prompt_tokens, p.service) for p in kept.progress] == [(1, 1, 100, 700.0)]


async def test_what_was_never_served_teaches_nothing() -> None:
    world = await ready(Scripted())
    client = await started(world, "a")
    client.leave()
    await world.settle()
    await closed(world)
    assert world.closed == []


async def test_as_calls_end_the_cost_is_refined_and_the_order_follows() -> None:
    script = Scripted(cost=1000.0, refined_cost=50_000.0)
    world = await ready(script)
    one = await started(world, "a")
    await started(world, "a")
    await ended(world, one, 300.0)
    [seen] = script.seen
    assert (seen.num_ended, seen.num_open, seen.service) == (1, 1, 300.0)
    assert finish_time(await started(world, "a")) == pytest.approx(50_000)


async def test_a_small_change_leaves_the_order_alone() -> None:
    world = await ready(Scripted(cost=1000.0, refined_cost=1400.0))
    one = await started(world, "a")
    await started(world, "a")
    await ended(world, one, 300.0)
    assert finish_time(await started(world, "a")) == pytest.approx(1000)


async def test_what_the_client_said_it_costs_stands() -> None:
    script = Scripted()
    world = await ready(script)
    one = await started(world, "a", declared_cost=77.0)
    await started(world, "a")
    await ended(world, one, 10.0)
    assert (finish_time(one), script.asked, script.seen) == (77.0, [], [])


async def test_declared_ahead_by_its_kind_alone_it_is_predicted_when_its_first_call_comes() -> None:
    script = Scripted()
    world = await ready(script)
    declared = await world.dispatcher.desk.declare(world.identity("a"), weight=2000, expected_cost=None)
    assert declared.virtual_finish_time == 500  # the default, 1000, at twice the weight
    assert script.asked == []
    first = await started(world, "a", text="what is asked")
    assert finish_time(first) == pytest.approx(2500)
    await started(world, "a")
    assert len(script.asked) == 1
    await ended(world, first, 700.0)
    await closed(world)


async def test_declared_ahead_with_a_cost_that_stands() -> None:
    script = Scripted()
    world = await ready(script)
    await world.dispatcher.desk.declare(world.identity("a"), weight=None, expected_cost=300.0)
    assert finish_time(await started(world, "a")) == 300
    assert script.asked == []


async def test_who_came_when_nothing_was_known_and_waits_follows_what_is_learnt() -> None:
    world = await ready(None)
    waits = await started(world, "waits")
    assert finish_time(waits) == 1000  # the default
    other = await started(world, "other")
    await ended(world, other, 20.0)
    assert (await stored(world, "waits")).predicted_cost == 1000
    await closed(world)
    await world.sweep()
    assert (await stored(world, "waits")).predicted_cost == 20
    assert (await stored(world, "waits")).virtual_finish_time < finish_time(await started(world, "newcomer"))


async def test_a_model_that_was_trained_since_is_asked_about_those_who_wait() -> None:
    world = await ready(None)
    one = await started(world, "a", text="what is asked")
    world.predictor.artifact = script = Scripted()
    await world.sweep()
    assert (await stored(world, "a")).predicted_cost == pytest.approx(5000)
    [asked] = script.asked
    assert asked.lengths[0] == pytest.approx(math.log1p(len("what is asked")))
    # Once: it has the model's word then, which is what it is kept with.
    script.cost = 80_000.0
    await world.sweep()
    assert len(script.asked) == 1
    await ended(world, one, 300.0)
    await closed(world)
    [kept] = world.closed
    assert (kept.predictor, kept.predicted_cost) == (script.version, pytest.approx(5000))


async def test_what_its_own_calls_have_told_is_not_forgotten_for_a_mean() -> None:
    world = await ready(None)
    one = await started(world, "a")
    await started(world, "a")
    await ended(world, one, 3000.0)
    await ended(world, await started(world, "other"), 20.0)
    await closed(world)
    await world.sweep()
    assert (await stored(world, "a")).predicted_cost == 1000
    assert (await stored(world, "a")).service == 3000


async def test_a_first_call_that_comes_while_the_store_is_asked_is_what_it_goes_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await ready(None)
    await world.dispatcher.desk.declare(world.identity("a"), weight=None, expected_cost=None)
    answers, mean_cost, asked = asyncio.Event(), world.store.mean_cost, []

    async def slow_at_first(kind: str) -> Any:
        asked.append(kind)
        if len(asked) == 1:
            await answers.wait()
        return await mean_cost(kind)

    monkeypatch.setattr(world.store, "mean_cost", slow_at_first)
    sweep = asyncio.create_task(world.sweep())
    await world.settle()
    assert asked == ["k"]
    world.predictor.artifact = Scripted()
    await started(world, "a", text="what is asked")
    answers.set()
    await sweep
    assert (await stored(world, "a")).predicted_cost == pytest.approx(5000)


async def test_of_each_kind_the_store_is_asked_once_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await ready(None)
    for name in "abc":
        await started(world, name)
    asked, mean_cost = [], world.store.mean_cost

    async def counted(kind: str) -> Any:
        asked.append(kind)
        return await mean_cost(kind)

    monkeypatch.setattr(world.store, "mean_cost", counted)
    await world.sweep()
    assert asked == ["k"]


async def test_what_was_declared_does_not_follow_means() -> None:
    world = await ready(None)
    await started(world, "declared", declared_cost=77.0)
    await ended(world, await started(world, "other"), 1.0)
    await closed(world)
    await world.sweep()
    assert (await stored(world, "declared")).predicted_cost == 77


async def test_a_store_that_is_away_does_not_keep_it_from_predicting() -> None:
    world = await ready(Scripted())
    world.store.is_down = True
    assert finish_time(await started(world, "a")) == pytest.approx(5000)


async def test_applications_without_a_kind_are_told_apart_by_their_prompts() -> None:
    script = Scripted()
    world = await ready(script)
    for number in range(4):
        request = world.request(f"application {number}")
        identity = replace(request.identity, kind=DEFAULT_KIND)
        await started(world, f"application {number}", identity=identity, shape="0123abcd")
    assert [asked.kind for asked in script.asked] == [DEFAULT_KIND, DEFAULT_KIND, "shape-0123abcd", "shape-0123abcd"]


async def test_intervals_are_counted_by_where_the_cost_lay() -> None:
    world = await ready(Scripted(cost=1000.0))
    for name, service in (("a", 900.0), ("b", 10.0), ("c", 1100.0), ("d", 9000.0)):
        await ended(world, await started(world, name), service)
    await closed(world)
    counted = {
        where: world.metrics.registry.get_sample_value(
            "justitia_prediction_interval_total", {"policy": "justitia", "application_kind": "k", "cost": where}
        )
        for where in ("below", "within", "above")
    }
    assert counted == {"below": 1, "within": 2, "above": 1}


async def test_what_another_gateway_opened_is_not_taken_for_a_first_call() -> None:
    world = await ready(Scripted(cost=5000.0))
    await ended(world, await started(world, "a"), 100.0)
    beside = World(beside=world)
    beside.predictor.artifact = Scripted(cost=9000.0)
    await beside.read()
    client = await started(beside, "a", text="a later question")
    assert finish_time(client) == pytest.approx(5000)
    await ended(beside, client, 100.0)
    await closed(beside)
    assert beside.closed == []


async def test_without_the_store_and_without_an_artifact_it_is_the_default_that_was_wrong() -> None:
    world = await ready(None)
    world.store.is_down = True
    client = await started(world, "a")
    world.store.is_down = False
    await ended(world, client, 500.0)
    await closed(world)
    labels = {"policy": "justitia", "application_kind": "k"}
    assert world.metrics.registry.get_sample_value("justitia_prediction_relative_error_sum", labels) == 1.0
