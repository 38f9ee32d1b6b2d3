"""Prompts as token ids: what is shared in the recording is really the same tokens, and nothing else is.

Shared is what `extends` says, and, where the recording has text, equal messages at the same place: all runs of one
agent begin with the same system prompt. A message's part of a prompt is its part of the characters.
"""

from collections.abc import Sequence
from itertools import accumulate, count

from gateway.workloads.traces import Message, RecordedApplication, RecordedCall

_FIRST_ID = 1000
"""Smaller ids are the made-up model's own."""
_IDS_PER_TEXT = 1 << 24


class Prompts:
    """`answer_token`: what the made-up model says, always; `max_len`: longer prompts lose their end."""

    def __init__(self, answer_token: int, max_len: int, *, are_shared: bool) -> None:
        self._answer_token = answer_token
        self._max_len = max_len
        self._are_shared = are_shared
        self._plain = range(_FIRST_ID, _FIRST_ID + max_len)
        self._first_id_of: dict[tuple[str, str], int] = {}
        """By role and content."""
        self._first_ids = count(_FIRST_ID, _IDS_PER_TEXT)

    def of(self, application: RecordedApplication) -> dict[int, Sequence[int]]:
        """By call id, in the order of the calls."""
        if not self._are_shared:
            return {call.call_id: self._plain[: self._length(call)] for call in application.calls}
        prompts: dict[int, Sequence[int]] = {}
        by_id = {call.call_id: call for call in application.calls}
        for call in application.calls:
            prefix: list[int] = []
            if call.extends is not None:
                prefix = [*prompts[call.extends], *[self._answer_token] * by_id[call.extends].completion_tokens]
            length = self._length(call)
            prompts[call.call_id] = [*prefix[:length], *self._fresh(call.append, max(0, length - len(prefix)))]
        return prompts

    def _fresh(self, messages: Sequence[Message] | None, num_tokens: int) -> list[int]:
        """What a prompt adds to the one it extends; without text it is like nothing else."""
        if not messages:
            first = next(self._first_ids)
            return list(range(first, first + num_tokens))
        characters = list(accumulate((len(message["content"]) + 1 for message in messages), initial=0))
        places = [num_tokens * place // characters[-1] for place in characters]
        tokens: list[int] = []
        for message, begin, end in zip(messages, places, places[1:], strict=False):
            text = (message["role"], message["content"])
            if text not in self._first_id_of:
                self._first_id_of[text] = next(self._first_ids)
            first = self._first_id_of[text]
            tokens += range(first, first + end - begin)
        return tokens

    def _length(self, call: RecordedCall) -> int:
        return min(call.prompt_tokens, self._max_len - call.completion_tokens)
