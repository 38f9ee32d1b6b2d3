"""How much one engine may be given now.

A late re-ordering still counts for a call that waits in the gateway, and counts less once an engine without our patch
has it. So the engine gets as many calls as keep its KV memory full, by its own latest report, and a small margin that
waits inside it to be there when memory falls free between two reports. Two ways in:

1. it *fits*: nothing of ours waits inside, and the report's free memory and sequence slots, less what was sent since,
   hold its prompt (vLLM admits a call when its whole prompt fits);
2. it is of the *margin*: fewer than `margin` of our calls that wait inside rank before it. So the best `margin` of each
   gateway's waiting calls are always in the engine, where the engine's own order compares them with the others': one
   order across gateways, and no better call left behind when several end in one step. Newcomers that outrank what waits
   inside add to it; at most `MAX_MARGINS` margins.
"""

from dataclasses import dataclass

from gateway.fairness.units import ApplicationId
from gateway.ports import EngineState
from gateway.scheduling.model import Call

TRANSIT_S = 0.1
"""A call sent this shortly before a reading began may not be in it yet: HTTP and tokenising come first."""

MAX_MARGINS = 8


@dataclass(slots=True)
class InFlight:
    """One of our calls inside the engine."""

    application_id: ApplicationId
    rank: float
    prompt_tokens: int
    sent_at: float
    is_answering: bool = False


class EngineWindow:
    """One engine as this gateway sees it: its last report, and what we did since."""

    def __init__(self, name: str, margin: int) -> None:
        self.name = name
        self.models: tuple[str, ...] = ()
        self.is_up = False
        self.capacity_kv_tokens = 0
        self.in_flight: dict[str, InFlight] = {}
        self._margin = margin
        self._waiting_inside: set[str] = set()
        self._free_tokens = 0
        self._free_seqs = 0

    def report(self, state: EngineState, models: tuple[str, ...], as_of: float) -> None:
        self.is_up = True
        self.models = models
        self.capacity_kv_tokens = state.capacity_kv_tokens
        unseen = {
            call_id
            for call_id, call in self.in_flight.items()
            if not call.is_answering and call.sent_at > as_of - TRANSIT_S
        }
        self._waiting_inside = self._find_waiting(state) | (self._waiting_inside & unseen)
        in_transit = [self.in_flight[call_id] for call_id in unseen - self._waiting_inside]
        if state.num_waiting:
            self._free_tokens = self._free_seqs = 0
        else:
            self._free_tokens = state.free_kv_tokens - sum(call.prompt_tokens for call in in_transit)
            self._free_seqs = state.max_num_seqs - state.num_running - len(in_transit)

    def lost(self) -> None:
        """It does not answer. What it had of ours ends by itself, each call with its own connection."""
        self.is_up = False
        self._waiting_inside.clear()
        self._free_tokens = self._free_seqs = 0

    def admits(self, call: Call, rank: float) -> bool:
        if self._fits(call):
            return True
        if len(self._waiting_inside) >= MAX_MARGINS * self._margin:
            return False
        return sum(self.in_flight[other].rank <= rank for other in self._waiting_inside) < self._margin

    def room(self, application_id: ApplicationId) -> tuple[int, bool, int]:
        """For choosing among engines, larger is better: least waits inside, this application is here, most memory."""
        is_here = any(call.application_id == application_id for call in self.in_flight.values())
        return -len(self._waiting_inside), is_here, self._free_tokens

    def sent(self, call: Call, rank: float, now: float) -> None:
        if self._fits(call):
            self._free_tokens -= call.prompt_tokens
            self._free_seqs -= 1
        else:
            self._waiting_inside.add(call.call_id)
        self.in_flight[call.call_id] = InFlight(call.application_id, rank, call.prompt_tokens, now)

    def answering(self, call_id: str) -> None:
        self.in_flight[call_id].is_answering = True
        self._waiting_inside.discard(call_id)

    def ended(self, call_id: str) -> None:
        """Its memory is free: the engine takes the best that waits inside, or we may send another."""
        call = self.in_flight.pop(call_id)
        if call_id in self._waiting_inside:
            self._waiting_inside.remove(call_id)
        elif self._waiting_inside:
            next_in = min(self._waiting_inside, key=lambda other: (self.in_flight[other].rank, other))
            self._waiting_inside.remove(next_in)
        elif self.is_up:
            self._free_tokens += call.prompt_tokens
            self._free_seqs += 1

    def _fits(self, call: Call) -> bool:
        return not self._waiting_inside and self._free_seqs > 0 and call.prompt_tokens <= self._free_tokens

    def _find_waiting(self, state: EngineState) -> set[str]:
        """Ours that wait inside. A stock engine gives only a number: then the last in order that do not answer yet."""
        if state.waiting_calls is not None:
            return {call_id for call_id in self.in_flight if call_id in state.waiting_calls}
        silent = [call_id for call_id, call in self.in_flight.items() if not call.is_answering]
        silent.sort(key=lambda call_id: self.in_flight[call_id].rank, reverse=True)
        return set(silent[: state.num_waiting])
