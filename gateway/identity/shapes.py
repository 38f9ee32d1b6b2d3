"""Kinds for applications whose clients name none: by what their first prompts have in common.

Programs write the same instructions and offer the same tools again and again, so the beginning of the system prompt and
the names of the tools tell one program's applications from another's. Such a shape becomes a kind when several
applications had it: a prompt that is different every time never does.
"""

import hashlib
import re
from collections.abc import Iterable

from gateway.identity.kinds import DEFAULT_KIND

_SYSTEM_CHARACTERS = 256
"""Of the system prompt, from its beginning: what follows is often a date, a name, a document."""
_MAX_TOOLS = 64
_NAME_CHARACTERS = 64


def prompt_shape(system: str, tools: Iterable[str]) -> str | None:
    """Eight hex digits; None for a prompt that has neither. Numbers do not count: they change from run to run."""
    names = sorted({name[:_NAME_CHARACTERS] for name, _ in zip(tools, range(_MAX_TOOLS), strict=False)})
    if not system and not names:
        return None
    start = re.sub(r"\d+", "0", system[:_SYSTEM_CHARACTERS])
    text = "\0".join([" ".join(start.split()), *names])
    return hashlib.blake2s(text.encode("utf-8", "replace"), digest_size=4).hexdigest()


class ShapeRegistry:
    """The shapes that one process takes for kinds: at most `max_kinds`, and never forgotten, so that a kind's record
    means one thing. A candidate needs `min_applications`; of candidates, the latest `max_candidates` are remembered."""

    def __init__(self, max_kinds: int = 32, min_applications: int = 3, max_candidates: int = 1024) -> None:
        self._kinds: set[str] = set()
        self._candidates: dict[str, tuple[int, str]] = {}
        """(applications seen, the latest of them)"""
        self._max_kinds = max_kinds
        self._min_applications = min_applications
        self._max_candidates = max_candidates

    def kind_of(self, shape: str | None, application: str) -> str:
        """For a new application: `shape-…`, or `default` for a shape that is not known for one yet."""
        if shape is None:
            return DEFAULT_KIND
        if shape in self._kinds:
            return f"shape-{shape}"
        if len(self._kinds) >= self._max_kinds:
            return DEFAULT_KIND
        seen, latest = self._candidates.pop(shape, (0, ""))
        seen += latest != application
        if seen >= self._min_applications:
            self._kinds.add(shape)
            return f"shape-{shape}"
        self._candidates[shape] = (seen, application)
        if len(self._candidates) > self._max_candidates:
            del self._candidates[next(iter(self._candidates))]
        return DEFAULT_KIND
