"""Prompts as token ids: what `extends` says is shared is really the same tokens, and nothing else is."""

from collections.abc import Sequence

from gateway.workloads.traces import RecordedApplication, RecordedCall

_FIRST_ID = 1000
"""Smaller ids are the made-up model's own."""
_IDS_PER_APPLICATION = 1 << 24


class Prompts:
    """`answer_token`: what the made-up model says, always; `max_len`: longer prompts lose their end."""

    def __init__(self, answer_token: int, max_len: int, *, are_shared: bool) -> None:
        self._answer_token = answer_token
        self._max_len = max_len
        self._are_shared = are_shared
        self._plain = range(_FIRST_ID, _FIRST_ID + max_len)

    def of(self, number: int, application: RecordedApplication) -> dict[int, Sequence[int]]:
        """By call id. `number` tells applications apart: different ones share nothing."""
        if not self._are_shared:
            return {call.call_id: self._plain[: self._length(call)] for call in application.calls}
        prompts: dict[int, Sequence[int]] = {}
        next_id = _FIRST_ID + number * _IDS_PER_APPLICATION
        by_id = {call.call_id: call for call in application.calls}
        for call in application.calls:
            prefix: list[int] = []
            if call.extends is not None:
                prefix = [*prompts[call.extends], *[self._answer_token] * by_id[call.extends].completion_tokens]
            length = self._length(call)
            fresh = range(next_id, next_id + max(0, length - len(prefix)))
            next_id += len(fresh)
            prompts[call.call_id] = [*prefix[:length], *fresh]
        return prompts

    def _length(self, call: RecordedCall) -> int:
        return min(call.prompt_tokens, self._max_len - call.completion_tokens)
