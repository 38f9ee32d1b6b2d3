"""Does this vLLM still work as the patch assumes? Tried at every start, on a toy pool, before a request is taken.

The version range is what was tested and only warns. The behaviour decides: four requests in a pool of nine blocks must
be admitted in order of rank, follow a re-ranking, be preempted from the largest rank down, leave every block free and
an account that adds up. Otherwise the server does not start, and says why in one line.
"""

import logging
import math
import re
from typing import Any

import vllm
from vllm.v1.request import RequestStatus

from engine_patch import toy

OLDEST_TESTED = (0, 29)
FIRST_UNTESTED = (0, 34)

_BLOCK_SIZE = 4
_NUM_BLOCKS = 10  # nine and the null block
_MAX_STEPS = 200

logger = logging.getLogger("vllm.justitia")


class IncompatibleEngine(RuntimeError):
    """This engine cannot be started with the patch; the message is one line for its operator."""


def verify(scheduler_class: Any, vllm_config: Any, structured_output_manager: Any) -> None:
    """Raises IncompatibleEngine."""
    if not is_tested_version(vllm.__version__):
        logger.warning("Justitia: vLLM %s was not tested with this patch (0.29 to 0.33 were).", vllm.__version__)
    if vllm_config.parallel_config.data_parallel_size > 1:
        raise IncompatibleEngine(
            "Justitia: data parallelism inside one server is not supported; start one server per replica and give the "
            "gateway all of them."
        )
    toy_class = type("ToyScheduler", (scheduler_class,), {"is_toy": True})
    try:
        complaint = complaint_about(toy_class, vllm_config, structured_output_manager)
    except Exception as error:
        complaint = f"{type(error).__name__}: {error}"
        raise IncompatibleEngine(_refusal(complaint)) from error
    if complaint is not None:
        raise IncompatibleEngine(_refusal(complaint))


def _refusal(complaint: str) -> str:
    return (
        f"Justitia: vLLM {vllm.__version__} does not schedule as this patch needs ({complaint}). Use vllm>=0.29,<0.34, "
        "or leave out --scheduler-cls and --middleware: the gateway makes do with what stock vLLM offers."
    )


def is_tested_version(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and OLDEST_TESTED <= (int(numbers[1]), int(numbers[2])) < FIRST_UNTESTED


def complaint_about(toy_class: Any, vllm_config: Any, structured_output_manager: Any) -> str | None:
    """What is wrong, or None.

    Two may run at a time and each grows to six blocks, one of them shared: two do not fit, and somebody is preempted.
    """
    scheduler = toy.toy_scheduler(
        toy_class,
        vllm_config,
        structured_output_manager,
        num_blocks=_NUM_BLOCKS,
        block_size=_BLOCK_SIZE,
        max_num_seqs=2,
    )
    num_free_at_first = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    for arrival, (name, rank) in enumerate([("c", 30), ("a", 10), ("b", 20), ("d", 40)]):
        scheduler.add_request(_request(name, rank, arrival))
    toy.step(scheduler)
    if _names(scheduler.running) != ["a", "b"]:
        return f"ranks 10 and 20 of four were to be admitted, {_names(scheduler.running)} were"
    scheduler.justitia.rerank({"a": 50, "d": 5})
    complaint = _preemption_complaint(scheduler) or _admission_complaint(scheduler)
    if complaint:
        return complaint
    scheduler.finish_requests("c", RequestStatus.FINISHED_ABORTED)
    for _ in range(_MAX_STEPS):
        if not scheduler.requests:
            break
        toy.step(scheduler)
    return _account_complaint(scheduler, num_free_at_first)


def _request(name: str, rank: int, arrival: int) -> Any:
    prompt = [1] * _BLOCK_SIZE + [ord(name)] * _BLOCK_SIZE
    return toy.toy_request(
        name, prompt, max_tokens=17, priority=rank, session_id=name, arrival_time=float(arrival), block_size=_BLOCK_SIZE
    )


def _names(requests: Any) -> list[str]:
    return [request.request_id for request in requests]


def _preemption_complaint(scheduler: Any) -> str | None:
    for _ in range(_MAX_STEPS):
        before = _names(scheduler.running)
        toy.step(scheduler)
        gone = [name for name in before if name not in _names(scheduler.running)]
        if gone:
            preempted = [name for name in gone if name in scheduler.requests]
            return None if preempted == ["a"] else f"rank 50 was to be preempted before rank 20, {gone} went"
    return "memory ran out and nobody was preempted"


def _admission_complaint(scheduler: Any) -> str | None:
    for _ in range(_MAX_STEPS):
        before = _names(scheduler.running)
        toy.step(scheduler)
        admitted = [name for name in _names(scheduler.running) if name not in before]
        if admitted:
            return (
                None if admitted[0] == "d" else f"rank 5 (re-ranked) was to be admitted before rank 30, {admitted} were"
            )
    return "nobody was admitted after a preemption"


def _account_complaint(scheduler: Any, num_free_at_first: int) -> str | None:
    ledger = scheduler.justitia
    if scheduler.requests:
        return f"requests {list(scheduler.requests)} never ended"
    if scheduler.kv_cache_manager.block_pool.get_num_free_blocks() != num_free_at_first:
        return "blocks were not all freed"
    records, _ = ledger.finished_ring.since(0)
    if sorted(record["application_id"] for record in records) != ["a", "b", "c", "d"]:
        return f"four requests ended, {len(records)} were recorded"
    delivered = sum(record["service"] for record in records)
    if not (delivered > 0 and math.isclose(delivered, ledger.account.total, rel_tol=1e-9)):
        return f"shares add up to {delivered}, the pool to {ledger.account.total}"
    if ledger.num_hook_failures or ledger.num_preemptions == 0:
        return f"{ledger.num_hook_failures} hooks failed, {ledger.num_preemptions} preemptions were seen"
    return None
