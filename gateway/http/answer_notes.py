"""What an answer leaves for later calls to be recognised by."""

from gateway.identity import Identity, Inquiry, link_key
from gateway.ports import LinkStore


class AnswerNotes:
    """Notes it once, and before the client has seen the end of the answer: its next call may follow at once."""

    def __init__(self, inquiry: Inquiry, identity: Identity, links: LinkStore) -> None:
        self.reader = inquiry.answer_reader(identity)
        """None where nothing is wanted of the answer."""
        self._inquiry = inquiry
        self._identity = identity
        self._links = links
        self._is_noted = False
        self.engine: str | None = None
        """That answers: a stored response can be had from it alone."""

    @property
    def is_reading(self) -> bool:
        return self.reader is not None and not self._is_noted

    async def note(self, *, is_end: bool = False) -> None:
        """What is known by now, if all that is wanted has come, or will not come any more."""
        if self.reader is None or self._is_noted or not (is_end or self.reader.is_complete):
            return
        self._is_noted = True
        answer = self.reader.answer
        left = self._inquiry.answer_links(self._identity, answer)
        if answer.response_id is not None and self.engine is not None:
            left[link_key("home", self._identity.tenant, answer.response_id)] = self.engine
        if left:
            await self._links.note(self._identity.tenant, left)
