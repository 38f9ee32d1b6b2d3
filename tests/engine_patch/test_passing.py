"""Calls that go past one whose memory is not there: vLLM's real scheduler, in virtual time."""

import random
from collections.abc import Callable
from typing import Any

import pytest

BLOCK_SIZE = 4
NUM_BLOCKS = 10
MakeScheduler = Callable[..., Any]


def scheduler_that_lets_pass(make_scheduler: MakeScheduler, iterations: int, num_blocks: int = NUM_BLOCKS) -> Any:
    """`num_blocks` can be held."""
    scheduler = make_scheduler(num_blocks=num_blocks + 1, has_prefix_caching=False)
    scheduler.let_pass(iterations)
    return scheduler


def add(scheduler: Any, name: str, rank: int, *, blocks: int, max_tokens: int = 4) -> Any:
    """Its prompt fills so many blocks but for one token, so that its first answer still fits."""
    from engine_patch.toy import toy_request

    request = toy_request(
        name,
        [1] * (blocks * BLOCK_SIZE - 1),
        max_tokens,
        priority=rank,
        session_id=name,
        arrival_time=float(len(scheduler.requests)),
        block_size=None,
    )
    scheduler.add_request(request)
    return request


def running(scheduler: Any) -> list[str]:
    return sorted(request.request_id for request in scheduler.running)


def step(scheduler: Any, count: int = 1) -> None:
    from engine_patch.toy import step

    for _ in range(count):
        step(scheduler)


def blocked(scheduler: Any, *, runs_for: int = 20) -> tuple[Any, Any]:
    """One that runs and leaves four blocks; then the first in order, which needs eight, and one behind: two."""
    add(scheduler, "runs", 1, blocks=6, max_tokens=runs_for)
    return add(scheduler, "first", 2, blocks=8), add(scheduler, "small", 3, blocks=2)


def test_without_it_the_first_that_does_not_fit_blocks_those_behind(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 0)
    blocked(scheduler)
    step(scheduler, 5)
    assert running(scheduler) == ["runs"]


def test_one_that_fits_goes_past_and_keeps_its_own_place(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    first, small = blocked(scheduler)
    step(scheduler)
    assert running(scheduler) == ["runs"]  # nobody was refused before
    step(scheduler)
    assert running(scheduler) == ["runs", "small"]
    assert scheduler.justitia.state(0)["passed"] == scheduler.passing.num_passed == 1
    assert (first.priority, small.priority) == ((2, "first"), (3, "small"))
    assert scheduler.waiting.peek_request() is first


def test_who_does_not_fit_either_does_not_pass_and_those_that_fit_together_do(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    add(scheduler, "runs", 1, blocks=5, max_tokens=20)
    add(scheduler, "first", 2, blocks=8)
    add(scheduler, "large", 3, blocks=6)
    add(scheduler, "small", 4, blocks=2)
    add(scheduler, "wide", 5, blocks=4)  # would fit without the one before it
    add(scheduler, "other", 6, blocks=2)
    step(scheduler, 2)
    assert running(scheduler) == ["other", "runs", "small"]
    assert [request.request_id for request in scheduler.waiting] == ["first", "large", "wide"]


def test_of_many_behind_only_the_first_few_are_looked_at(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    add(scheduler, "runs", 1, blocks=6, max_tokens=20)
    for number in range(5):
        add(scheduler, f"large{number}", 2 + number, blocks=8)
    add(scheduler, "small", 9, blocks=2)
    step(scheduler, 5)
    assert running(scheduler) == ["runs"]


def test_after_so_many_iterations_nobody_passes_any_more(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 10)
    add(scheduler, "runs", 1, blocks=5, max_tokens=60)
    first = add(scheduler, "first", 2, blocks=8, max_tokens=1)
    passed = []
    for number in range(100):
        # One iteration each: there is always one that would fit.
        add(scheduler, f"small{number}", 3 + number, blocks=1, max_tokens=1)
        step(scheduler)
        if first.num_computed_tokens:
            break
        passed.append(scheduler.passing.num_passed)
    assert first.num_computed_tokens
    assert passed[3] > 0
    assert len(passed) > 20
    assert len({*passed[11:]}) == 1, passed


def test_what_falls_free_is_the_firsts(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    first, small = blocked(scheduler, runs_for=1)
    step(scheduler)  # ends the one that runs; the first was refused
    step(scheduler)
    assert running(scheduler) == ["first", "small"]
    assert scheduler.passing.num_passed == 0
    assert (first.priority, small.priority) == ((2, "first"), (3, "small"))


def test_who_waits_for_a_place_among_the_running_was_not_refused_memory(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=NUM_BLOCKS + 1, has_prefix_caching=False, max_num_seqs=1)
    scheduler.let_pass(50)
    add(scheduler, "runs", 1, blocks=2, max_tokens=4)
    add(scheduler, "first", 2, blocks=2)
    add(scheduler, "small", 3, blocks=1)
    step(scheduler, 3)
    assert scheduler.passing.num_remembered == 0
    step(scheduler, 3)
    assert running(scheduler) == ["first"]


def test_a_better_one_that_comes_meanwhile_is_the_first_then(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    add(scheduler, "runs", 1, blocks=6, max_tokens=20)
    add(scheduler, "first", 5, blocks=8)
    step(scheduler)
    add(scheduler, "small", 6, blocks=2)
    add(scheduler, "better", 3, blocks=4)
    step(scheduler)
    assert running(scheduler) == ["better", "runs"]


def test_a_new_rank_holds_for_who_has_passed(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    _, small = blocked(scheduler)
    step(scheduler)
    assert scheduler.justitia.rerank({"small": 9}) == 1
    step(scheduler)
    assert running(scheduler) == ["runs", "small"]
    assert small.priority == (9, "small")


@pytest.mark.parametrize("broken", ["_num_blocks", "restore", "note_refusal", "ended"])
def test_where_it_fails_the_engine_goes_on(
    make_scheduler: MakeScheduler, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    from engine_patch.passing import Passing

    def fails(*_: Any) -> None:
        raise RuntimeError("as the test wants it")

    monkeypatch.setattr(Passing, broken, fails)
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    blocked(scheduler, runs_for=8)
    step(scheduler, 30)
    assert not scheduler.requests
    assert scheduler.justitia.num_hook_failures > 0


def test_without_priorities_nobody_passes(make_scheduler: MakeScheduler) -> None:
    scheduler = scheduler_that_lets_pass(make_scheduler, 50)
    assert scheduler.passing is not None
    scheduler.policy = type(scheduler.policy)("fcfs")
    scheduler.let_pass(50)
    assert scheduler.passing is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iterations", [1, 5, 10**9])
def test_whatever_comes_all_end_and_the_account_adds_up(
    make_scheduler: MakeScheduler, seed: int, iterations: int
) -> None:
    draw = random.Random(seed)
    scheduler = scheduler_that_lets_pass(make_scheduler, iterations, num_blocks=12)
    ranks = {}
    for number in range(60):
        if draw.random() < 0.7:
            name = f"c{number}"
            ranks[name] = draw.randrange(100)
            add(scheduler, name, ranks[name], blocks=draw.randrange(1, 9), max_tokens=draw.randrange(1, 12))
        if draw.random() < 0.1 and ranks:
            name = draw.choice(list(ranks))
            ranks[name] = draw.randrange(100)
            scheduler.justitia.rerank({name: ranks[name]})
        step(scheduler)
        for request in scheduler.requests.values():  # between two steps everybody has its own
            assert request.priority == (ranks[request.request_id], request.request_id)
        heap = list(scheduler.waiting)
        assert heap == sorted(heap)
    for _ in range(3000):
        if not scheduler.requests:
            break
        step(scheduler)
    assert not scheduler.requests
    assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == 12
    records, _ = scheduler.justitia.finished_ring.since(0)
    assert len(records) == len(ranks)
    assert sum(record["service"] for record in records) == pytest.approx(scheduler.justitia.account.total, rel=1e-9)
    assert scheduler.justitia.num_hook_failures == 0
    assert scheduler.passing.num_remembered == 0


@pytest.mark.parametrize("said", ["", "-1", "1.5", "many", "9" * 10])
def test_what_is_no_number_of_iterations_is_refused(said: str) -> None:
    from engine_patch.passing import passing_iterations

    with pytest.raises(ValueError, match="JUSTITIA_PASSING_ITERATIONS must be a number"):
        passing_iterations({"JUSTITIA_PASSING_ITERATIONS": said})
    assert passing_iterations({}) == 0
    assert passing_iterations({"JUSTITIA_PASSING_ITERATIONS": "128"}) == 128
