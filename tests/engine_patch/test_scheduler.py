"""Our hooks on vLLM's real scheduler and KV manager, in virtual time: no model, made-up tokens."""

import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_patch.trace import Trace

BLOCK_SIZE = 4
MakeScheduler = Callable[..., Any]


def _add(
    scheduler: Any, name: str, rank: Any, *, app: str | None = None, prompt_tokens: int = 8, **options: Any
) -> Any:
    from engine_patch.toy import toy_request

    prompt = options.pop("prompt", None) or [sum(name.encode()) * 31 + i for i in range(prompt_tokens)]
    request = toy_request(
        name,
        prompt,
        options.pop("max_tokens", 6),
        priority=rank,
        session_id=app if app is not None else name,
        arrival_time=options.pop("arrival", float(len(scheduler.requests))),
        block_size=BLOCK_SIZE,
    )
    scheduler.add_request(request)
    return request


def _run(scheduler: Any, each_step: Callable[[], None] = lambda: None) -> list[str]:
    """Steps until nobody is left; returns the request ids in order of first admission."""
    from engine_patch.toy import step

    admitted: dict[str, None] = {}
    for _ in range(10_000):
        if not scheduler.requests:
            return list(admitted)
        admitted.update(dict.fromkeys(new.req_id for new in step(scheduler).scheduled_new_reqs))
        each_step()
    raise AssertionError(f"never ended: {list(scheduler.requests)}")


def _records(scheduler: Any) -> dict[str, dict[str, Any]]:
    records, _ = scheduler.justitia.finished_ring.since(0)
    return {record["application_id"]: record for record in records}


def _assert_account_adds_up(scheduler: Any) -> None:
    records, _ = scheduler.justitia.finished_ring.since(0)
    assert sum(record["service"] for record in records) == pytest.approx(scheduler.justitia.account.total, rel=1e-9)
    assert scheduler.justitia.num_hook_failures == 0


def test_admission_follows_the_rank_not_the_arrival(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    draw = random.Random(1)
    ranks = {f"r{i}": draw.randrange(2**62) for i in range(20)}
    for name, rank in ranks.items():
        _add(scheduler, name, rank)
    assert _run(scheduler) == sorted(ranks, key=lambda name: ranks[name])


def test_equal_ranks_go_by_application_then_by_arrival(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    for name, app in [("r0", "z"), ("r1", "a"), ("r2", "z"), ("r3", "a")]:
        _add(scheduler, name, 5, app=app)
    assert _run(scheduler) == ["r1", "r3", "r0", "r2"]


def test_a_request_without_rank_or_application_goes_first(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    _add(scheduler, "ranked", 7)
    _add(scheduler, "plain", 0, app="")
    assert _run(scheduler) == ["plain", "ranked"]


def test_every_victim_has_the_largest_rank(make_scheduler: MakeScheduler, tmp_path: Path) -> None:
    scheduler = make_scheduler(num_blocks=25, max_num_seqs=8)
    trace = scheduler.justitia.trace = Trace(tmp_path / "trace.jsonl")
    draw = random.Random(2)
    for number in range(40):
        _add(scheduler, f"r{number}", draw.randrange(100), max_tokens=draw.randrange(4, 40))
    _run(scheduler)
    trace.close()
    events = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    preemptions = [event for event in events if event["event"] == "preempted"]
    assert len(preemptions) > 10
    for event in preemptions:
        assert event["rank"] == max(rank for _, rank in event["running"])
    scheduled = [event for event in events if event["event"] == "scheduled"]
    assert len(scheduled) == 40
    for event in scheduled:
        assert event["best_waiting"] is None or event["rank"] <= event["best_waiting"]
    assert Counter(event["event"] for event in events)["finished"] == 40
    _assert_account_adds_up(scheduler)


def test_reranking_moves_those_who_wait(make_scheduler: MakeScheduler) -> None:
    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    for number in range(6):
        _add(scheduler, f"r{number}", 10 + number, app=f"app{number % 3}")
    step(scheduler)  # r0 runs
    assert scheduler.justitia.rerank({"app2": 1, "app0": 99, "unknown": 3}) == 4
    assert _run(scheduler) == ["r2", "r5", "r1", "r4", "r3"]


def test_reranking_moves_those_who_run(make_scheduler: MakeScheduler) -> None:
    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=10, max_num_seqs=2)
    first = _add(scheduler, "first", 1, max_tokens=20)
    second = _add(scheduler, "second", 2, max_tokens=20)
    step(scheduler)
    scheduler.justitia.rerank({"first": 50})
    _run(scheduler)
    assert first.num_preemptions > 0
    assert second.num_preemptions == 0


def test_one_rerank_reorders_a_long_queue_completely(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    for number in range(200):
        _add(scheduler, f"r{number}", number, max_tokens=1)
    new_ranks = list(range(200))
    random.Random(3).shuffle(new_ranks)
    scheduler.justitia.rerank({f"r{number}": rank for number, rank in enumerate(new_ranks)})
    assert _run(scheduler) == sorted((f"r{n}" for n in range(200)), key=lambda name: new_ranks[int(name[1:])])


def test_blocked_requests_are_reranked_too(make_scheduler: MakeScheduler) -> None:
    """One that waits for its grammar stands aside in vLLM's queue; its new rank counts when it is ready."""
    from vllm.v1.request import RequestStatus

    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    _add(scheduler, "running", 0, max_tokens=3)
    step(scheduler)
    blocked = _add(scheduler, "blocked", 5)
    _add(scheduler, "other", 4)
    blocked.status = RequestStatus.WAITING_FOR_REMOTE_KVS
    assert scheduler.justitia.rerank({"blocked": 1}) == 1
    blocked.status = RequestStatus.WAITING
    assert _run(scheduler) == ["blocked", "other"]


class _BruteForce:
    """What each request held, read from vLLM's tables after every scheduling."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.service: Counter[str] = Counter()
        self.total = 0.0
        original = scheduler.schedule

        def schedule(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if output.num_scheduled_tokens:
                self._count()
            return output

        scheduler.schedule = schedule

    def _count(self) -> None:
        holders: dict[int, list[str]] = {}
        for manager in self._scheduler.kv_cache_manager.coordinator.single_type_managers:
            for request_id, blocks in manager.req_to_blocks.items():
                for block in blocks:
                    if not block.is_null:
                        holders.setdefault(block.block_id, []).append(request_id)
        worth = self._scheduler.justitia.account.tokens_per_block
        self.total += worth * len(holders)
        for names in holders.values():
            for name in names:
                self.service[name] += worth / len(names)


def _specs(kind: str) -> list[Any]:
    import torch
    from vllm.v1.kv_cache_interface import SlidingWindowSpec

    from engine_patch.toy import full_attention

    window = SlidingWindowSpec(
        block_size=BLOCK_SIZE, num_kv_heads=1, head_size=8, dtype=torch.float32, sliding_window=9
    )
    return {"full": [full_attention(BLOCK_SIZE)], "sliding": [window], "hybrid": [full_attention(BLOCK_SIZE), window]}[
        kind
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["full", "sliding", "hybrid"])
def test_shares_are_exact_with_shared_prefixes_preemptions_and_aborts(
    make_scheduler: MakeScheduler, kind: str, seed: int
) -> None:
    from vllm.v1.request import RequestStatus

    draw = random.Random(seed)
    scheduler = make_scheduler(num_blocks=49, max_num_seqs=8, token_budget=48, specs=_specs(kind))
    brute = _BruteForce(scheduler)
    num_free_at_first = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    for number in range(60):
        # Some prompts share their first blocks, and one in ten is too odd to share anything.
        prompt = [draw.randrange(3)] * 12 + [draw.randrange(1000) for _ in range(draw.randrange(1, 30))]
        _add(scheduler, f"r{number}", draw.randrange(50), prompt=prompt, max_tokens=draw.randrange(1, 60))

    def abort_some() -> None:
        if draw.random() < 0.05 and scheduler.requests:
            victim = draw.choice(list(scheduler.requests))
            scheduler.finish_requests(victim, RequestStatus.FINISHED_ABORTED)

    _run(scheduler, abort_some)
    records = _records(scheduler)
    assert len(records) == 60
    assert {"abort", "length"} <= {record["reason"] for record in records.values()}
    assert any(record["cached_tokens"] for record in records.values())
    assert scheduler.justitia.num_preemptions == sum(record["preemptions"] for record in records.values())
    # Alone, a window holds less while it generates than what its prompt had to find free: memory never runs out.
    assert (scheduler.justitia.num_preemptions > 0) == (kind != "sliding")
    for name, record in records.items():
        assert record["service"] == pytest.approx(brute.service[name], rel=1e-9, abs=1e-9)
    assert scheduler.justitia.account.total == pytest.approx(brute.total)
    assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == num_free_at_first
    _assert_account_adds_up(scheduler)
    tables = scheduler.justitia._tables
    assert not any(seen for _, seen in [*tables._growing, *tables._changing])  # nothing is remembered of who left
    assert not scheduler.justitia._live


def test_a_lone_request_is_charged_what_it_held(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33, max_num_seqs=1)
    _add(scheduler, "a", 0, prompt_tokens=8, max_tokens=6)
    _run(scheduler)
    # Tokens in the cache over the six iterations: 8, 9, …, 13; in blocks of 4: 2, 3, 3, 3, 3, 4.
    assert _records(scheduler)["a"] == {
        "sequence": 0,
        "call_id": "",
        "application_id": "a",
        "service": 18.0 * BLOCK_SIZE,
        "prompt_tokens": 8,
        "cached_tokens": 0,
        "output_tokens": 6,
        "preemptions": 0,
        "reason": "length",
    }


def test_an_iteration_without_work_is_none(make_scheduler: MakeScheduler) -> None:
    from vllm.v1.core.sched.interface import PauseState

    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=33)
    account = scheduler.justitia.account
    step(scheduler)
    assert (account.iterations, account.total) == (0, 0.0)
    _add(scheduler, "a", 0)
    step(scheduler)
    scheduler.set_pause_state(PauseState.PAUSED_ALL)
    before = account.iterations, account.total
    step(scheduler)
    assert account.num_held_blocks > 0
    assert (account.iterations, account.total) == before == (1, 2.0 * BLOCK_SIZE)


def test_cached_tokens_are_those_of_the_first_admission(make_scheduler: MakeScheduler) -> None:
    """vLLM's second model runner shows a resumed request as new, with its own blocks found again in the cache."""
    scheduler = make_scheduler(num_blocks=33)
    _add(scheduler, "a", 0)
    for num_computed_tokens in (4, 8):
        new = SimpleNamespace(req_id="a", num_computed_tokens=num_computed_tokens)
        scheduler.justitia.scheduled(SimpleNamespace(scheduled_new_reqs=[new], num_scheduled_tokens={}))
    _run(scheduler)
    assert _records(scheduler)["a"]["cached_tokens"] == 4


def test_the_state_says_what_is_there(make_scheduler: MakeScheduler) -> None:
    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=33, max_num_seqs=2)
    calls = [f"call-{number:032x}" for number in range(4)]
    for number, call in enumerate(calls):
        _add(scheduler, f"chatcmpl-{call}-12345678", number, app="a")
    step(scheduler)
    state = scheduler.justitia.state(0)
    assert json.loads(json.dumps(state)) == state
    assert state["capacity_kv_tokens"] == 32 * BLOCK_SIZE
    assert state["free_kv_tokens"] == (32 - 2 * 3) * BLOCK_SIZE or state["free_kv_tokens"] == (32 - 2 * 2) * BLOCK_SIZE
    assert (state["num_running"], state["num_waiting"], state["max_num_seqs"]) == (2, 2, 2)
    assert sorted(state["waiting_calls"]) == calls[2:]
    assert (state["service"], state["iterations"], state["preemptions"]) == (2 * 2 * BLOCK_SIZE, 1, 0)
    assert (state["first_sequence"], state["next_sequence"], state["finished"]) == (0, 0, [])


def test_of_many_waiting_calls_the_first_in_order_are_told(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=33)
    for number in reversed(range(300)):
        _add(scheduler, f"chatcmpl-call-{number:032x}", number)
    assert scheduler.justitia.state(0)["waiting_calls"] == [f"call-{number:032x}" for number in range(256)]


def test_the_session_id_is_restored_when_it_carried_the_call_id(make_scheduler: MakeScheduler) -> None:
    call = "call-" + "a" * 32
    scheduler = make_scheduler(num_blocks=33)
    request = _add(scheduler, "resp_1_0-12345678", 3, app=f"t/app\x1f{call}")
    assert request.session_id == "t/app"
    assert request.priority == (3, "t/app")
    assert scheduler.justitia.state(0)["waiting_calls"] == [call]
    assert scheduler.justitia.rerank({"t/app": 1}) == 1


@pytest.mark.parametrize("hook", ["added", "scheduled", "preempted", "finished"])
def test_a_failing_hook_leaves_vllm_as_it_is(
    make_scheduler: MakeScheduler, hook: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("planted")

    log = logging.getLogger("vllm.justitia")
    monkeypatch.setattr(log, "propagate", False)
    log.addHandler(caplog.handler)
    admitted, counts = [], []
    for broken in (False, True):
        scheduler = make_scheduler(num_blocks=10, max_num_seqs=2)
        if broken:
            monkeypatch.setattr(scheduler.justitia, hook, explode)
        for number in range(8):
            _add(scheduler, f"r{number}", 50 - number, max_tokens=20)
        admitted.append(_run(scheduler))
        counts.append(scheduler.justitia.num_hook_failures)
    assert admitted[0] == admitted[1]
    assert counts[0] == 0
    assert counts[1] > 0
    log.removeHandler(caplog.handler)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("method", ["acquire", "release_all", "close", "tick"])
def test_a_broken_account_never_stops_the_engine(
    make_scheduler: MakeScheduler, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise KeyError("planted")

    scheduler = make_scheduler(num_blocks=10, max_num_seqs=2)
    monkeypatch.setattr(scheduler.justitia.account, method, explode)
    for number in range(8):
        _add(scheduler, f"r{number}", 50 - number, max_tokens=20)
    assert len(_run(scheduler)) == 8
    assert scheduler.justitia.num_hook_failures > 0
    scheduler.justitia.state(0)


GARBAGE: Iterable[Any] = [1.5, float("nan"), float("inf"), "9", None, True, -7, 2**63, 2**200, (1, 2), object()]


def test_garbage_priorities_never_stop_the_engine(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(num_blocks=14, max_num_seqs=4)
    for number, priority in enumerate(GARBAGE):
        _add(scheduler, f"g{number}", priority, app=["", "app", "x" * 5000][number % 3], max_tokens=12)
        _add(scheduler, f"r{number}", number, max_tokens=12)
    assert len(_run(scheduler)) == 2 * len(list(GARBAGE))
    _assert_account_adds_up(scheduler)


def test_a_reset_of_the_prefix_cache_preempts_everybody_and_stays_exact(make_scheduler: MakeScheduler) -> None:
    from engine_patch.toy import step

    scheduler = make_scheduler(num_blocks=33)
    for number in range(4):
        _add(scheduler, f"r{number}", number)
    step(scheduler)
    scheduler.reset_prefix_cache(reset_running_requests=True)
    assert scheduler.justitia.account.num_held_blocks == 0
    _run(scheduler)
    assert scheduler.justitia.num_preemptions == 4
    _assert_account_adds_up(scheduler)
