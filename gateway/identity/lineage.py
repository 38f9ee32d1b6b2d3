"""Rule 6: a call whose messages begin with an earlier call's messages and that call's answer continues it.

A chain of digests runs over a call's messages (`messages` says what of them counts). When the call has been answered,
the answer is chained to it and the application is remembered under the result. A later call looks for its own chain as
it was after each answer in it, the latest first.

Two applications that asked the same and were answered the same share a link, and the later one has it. Answers are
drawn at random and tool calls have ids, so that is rare; were it the earlier one's, an application long over would
collect whoever begins as it did, again and again.

The model, the tools and what the system says do not count: programs change them from call to call. Nothing leads from
one tenant to another, because the chain begins with the tenant.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.identity.links import KEY_BYTES, LinkKey
from gateway.identity.messages import EMPTY_ANSWER, Message, MessageReader, is_answer

MAX_ANSWERS = 8
"""Looked for, from the latest. The earlier ones are for a client that rewrote what it was answered last."""


class Lineage:
    """The chain over one call's messages."""

    def __init__(self, tenant: str) -> None:
        self._chain = hashlib.sha256(f"lineage\0{tenant}\0".encode("utf-8", "surrogatepass"))
        self._is_whole = True
        self.keys: tuple[LinkKey, ...] = ()
        """What earlier calls may have been remembered under, the longest chain first."""

    @staticmethod
    def of(fields: Mapping[str, Any], tenant: str) -> "Lineage | None":
        """None for a body without messages."""
        reader = MessageReader()
        messages = reader.messages(fields)
        if messages is None:
            return None
        lineage = Lineage(tenant)
        lineage._read(messages, reader)
        return lineage

    def _read(self, messages: Iterable[Message], reader: MessageReader) -> None:
        answers: deque[bytes] = deque(maxlen=MAX_ANSWERS)
        unchained: list[Message] = []
        for message in messages:
            if reader.is_spent:
                break
            unchained.append(message)
            if is_answer(message):
                self._chain.update(_encoded(unchained))
                unchained.clear()
                answers.append(self._chain.digest())
        self._chain.update(_encoded(unchained))
        self._is_whole = not reader.is_spent
        self.keys = tuple(LinkKey(digest[:KEY_BYTES]) for digest in reversed(answers))

    def after(self, answer: Message) -> LinkKey | None:
        """What this call is remembered under when it was answered so. None where the answer says nothing, or where the
        messages were too many to read: a later call is known by an earlier answer then."""
        if not self._is_whole or answer == EMPTY_ANSWER:
            return None
        chain = self._chain.copy()
        chain.update(_encoded([answer]))
        return LinkKey(chain.digest()[:KEY_BYTES])


def _encoded(messages: list[Message]) -> bytes:
    """Any string at all, lone surrogates too. Messages say how long they are, so they need nothing between them."""
    return "".join(messages).encode("utf-8", "surrogatepass")
