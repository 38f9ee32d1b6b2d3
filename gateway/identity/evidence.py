"""One request in the form that rules read: headers by name, the path taken apart, the body's fields."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from gateway.identity.facts import RequestFacts
from gateway.identity.names import safe_name
from gateway.identity.paths import PathClaim, read_path
from gateway.values import value

_BLANKS = " \t"


@value
class Evidence:
    path: PathClaim
    headers: Mapping[str, str]
    """Lower-case name to value; of duplicates the first that is not empty."""
    call_id: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the body; empty where there is none."""

    @staticmethod
    def of(facts: RequestFacts) -> "Evidence":
        headers = facts.headers
        if not isinstance(headers, Mapping):
            headers = {name.lower(): value for name, value in reversed(headers) if value}
        return Evidence(read_path(facts.path), headers, facts.call_id, facts.fields or {})

    def text_in(self, carriers: tuple[str, ...]) -> str | None:
        """The first of these headers that says something, as it was sent but for blanks around it."""
        for carrier in carriers:
            if carrier in self.headers:
                text = self.headers[carrier].strip(_BLANKS)
                if text:
                    return text
        return None

    def name_in(self, carriers: tuple[str, ...]) -> str | None:
        """The same as a safe name."""
        text = self.text_in(carriers)
        return None if text is None else safe_name(text)

    def is_true(self, carriers: tuple[str, ...]) -> bool:
        """The first of these headers that says something says 1, true or yes."""
        text = self.text_in(carriers)
        return text is not None and text[:8].lower() in ("1", "true", "yes")


def said(value: object) -> str | None:
    """A value of the body that is a string and says something, without the blanks around it."""
    return value.strip(_BLANKS) or None if isinstance(value, str) else None
