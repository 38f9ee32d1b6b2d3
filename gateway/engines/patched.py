"""What the patch's state route answers, read into an EngineState."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.errors import EngineUnreachable
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import EngineState, FinishedCall

STATE_VERSION = 1


def read_patched_state(text: bytes, engine: str) -> EngineState:
    """Raises EngineUnreachable for what is no state: a gateway must not schedule by nonsense."""
    try:
        state = json.loads(text)
        if state["version"] != STATE_VERSION:
            raise EngineUnreachable(
                f"engine {engine}: its patch speaks version {state['version']!r} of the state route,"
                f" this gateway speaks {STATE_VERSION}"
            )
        return engine_state(state)
    except (ValueError, KeyError, TypeError) as error:
        raise EngineUnreachable(f"engine {engine}: its state route answered no state ({error!r})") from error


def engine_state(state: Mapping[str, Any]) -> EngineState:
    """From the patch's own fields; raises KeyError, TypeError or ValueError for anything else."""
    return EngineState(
        incarnation=int(state["incarnation"]),
        service=KvTokenTime(float(state["service"])),
        capacity_kv_tokens=Tokens(int(state["capacity_kv_tokens"])),
        free_kv_tokens=Tokens(int(state["free_kv_tokens"])),
        max_num_seqs=int(state["max_num_seqs"]),
        num_running=int(state["num_running"]),
        num_waiting=int(state["num_waiting"]),
        waiting_calls=frozenset(map(str, state["waiting_calls"])),
        preemptions=int(state["preemptions"]),
        passed=int(state.get("passed", 0)),
        finished=tuple(map(_finished_call, state["finished"])),
        next_sequence=int(state["next_sequence"]),
    )


def _finished_call(record: dict[str, Any]) -> FinishedCall:
    return FinishedCall(
        sequence=int(record["sequence"]),
        call_id=str(record["call_id"]),
        service=KvTokenTime(float(record["service"])),
        prompt_tokens=Tokens(int(record["prompt_tokens"])),
        cached_tokens=Tokens(int(record["cached_tokens"])),
        output_tokens=Tokens(int(record["output_tokens"])),
        preemptions=int(record["preemptions"]),
    )
