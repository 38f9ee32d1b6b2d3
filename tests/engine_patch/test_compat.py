"""The self-test at load: it passes on this vLLM, and each thing it is there to notice, planted, makes it refuse."""

import copy
from collections.abc import Callable
from typing import Any

import pytest


def _scheduler_class(**methods: Any) -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    return type("BrokenScheduler", (JustitiaScheduler,), methods)


def _priorities_are_ignored() -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    def add_request(self: Any, request: Any) -> None:
        request.session_id = ""
        request.priority = 0
        JustitiaScheduler.add_request(self, request)

    return _scheduler_class(add_request=add_request)


def _the_victim_is_the_last_admitted() -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    def schedule(self: Any) -> Any:
        # As under vLLM's fcfs policy: the victim is whoever was admitted last.
        for position, request in enumerate(self.running):
            request.priority = (position, request.session_id)
        return JustitiaScheduler.schedule(self)

    return _scheduler_class(schedule=schedule)


def _the_queue_is_not_reordered() -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    class Frozen:
        def __init__(self, queue: Any) -> None:
            self._queue = queue

        def __getattr__(self, name: str) -> Any:
            return getattr(self._queue, name)

        def __len__(self) -> int:
            return len(self._queue)

        def remove_requests(self, requests: Any) -> None:
            if requests:
                self._queue.remove_requests(requests)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        JustitiaScheduler.__init__(self, *args, **kwargs)
        self.waiting = Frozen(self.waiting)

    return _scheduler_class(__init__=init)


def _a_hook_is_never_called() -> Any:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    return _scheduler_class(_preempt_request=AsyncScheduler._preempt_request)


def _the_end_of_a_request_is_not_seen() -> Any:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    return _scheduler_class(_connector_finished=AsyncScheduler._connector_finished)


def _blocks_leak() -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    def free_blocks(self: Any, request: Any) -> None:
        if request.request_id == "d":  # the last to end, so that the others still find room
            del self.requests["d"]
        else:
            JustitiaScheduler._free_blocks(self, request)

    return _scheduler_class(_free_blocks=free_blocks)


def _an_internal_name_is_gone() -> Any:
    from engine_patch.scheduler import JustitiaScheduler

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        JustitiaScheduler.__init__(self, *args, **kwargs)
        del self.kv_cache_manager.block_pool

    return _scheduler_class(__init__=init)


FAULTS = [
    (_priorities_are_ignored, "were to be admitted"),
    (_the_victim_is_the_last_admitted, "before rank 20"),
    (_the_queue_is_not_reordered, "re-ranked"),
    (_a_hook_is_never_called, "0 preemptions were seen"),
    (_the_end_of_a_request_is_not_seen, "were recorded"),
    (_blocks_leak, "not all freed"),
    (_an_internal_name_is_gone, "AttributeError"),
]


def test_this_vllm_is_fit(vllm_config: Any, structured_output_manager: Any) -> None:
    from engine_patch import compat
    from engine_patch.scheduler import JustitiaScheduler

    before = copy.deepcopy(vllm_config.scheduler_config), copy.deepcopy(vllm_config.cache_config)
    compat.verify(JustitiaScheduler, vllm_config, structured_output_manager)
    assert (vllm_config.scheduler_config, vllm_config.cache_config) == before


@pytest.mark.parametrize(("plant", "expected"), FAULTS)
def test_it_refuses_in_one_line(
    plant: Callable[[], Any], expected: str, vllm_config: Any, structured_output_manager: Any
) -> None:
    from engine_patch import compat

    with pytest.raises(compat.IncompatibleEngine, match=expected) as refusal:
        compat.verify(plant(), vllm_config, structured_output_manager)
    assert "\n" not in str(refusal.value)
    assert "--scheduler-cls" in str(refusal.value)


def test_data_parallel_servers_are_refused(vllm_config: Any, structured_output_manager: Any) -> None:
    from engine_patch import compat
    from engine_patch.scheduler import JustitiaScheduler

    config = copy.copy(vllm_config)
    config.parallel_config = copy.copy(vllm_config.parallel_config)
    object.__setattr__(config.parallel_config, "data_parallel_size", 2)
    with pytest.raises(compat.IncompatibleEngine, match="one server per replica"):
        compat.verify(JustitiaScheduler, config, structured_output_manager)


@pytest.mark.parametrize(
    ("version", "is_tested"),
    [("0.28.1", False), ("0.29.0", True), ("0.33.2+cu130", True), ("0.34.0rc1", False), ("1.0", False), ("dev", False)],
)
def test_versions(vllm_config: Any, version: str, is_tested: bool) -> None:
    from engine_patch.compat import is_tested_version

    assert is_tested_version(version) is is_tested
