"""One request in the form that rules read: headers by name, the path taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.identity.facts import RequestFacts
from gateway.identity.names import safe_name
from gateway.identity.paths import PathClaim, read_path


@dataclass(frozen=True, slots=True)
class Evidence:
    path: PathClaim
    headers: Mapping[str, str]
    """Lower-case name to value; of duplicates the first that is not empty."""
    call_id: str

    @staticmethod
    def of(facts: RequestFacts) -> "Evidence":
        headers = {name.lower(): value for name, value in reversed(facts.headers) if value}
        return Evidence(read_path(facts.path), headers, facts.call_id)

    def text_in(self, carriers: tuple[str, ...]) -> str | None:
        """The first of these headers that says something, as it was sent but for blanks around it."""
        for carrier in carriers:
            if carrier in self.headers:
                text = self.headers[carrier].strip(" \t")
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
