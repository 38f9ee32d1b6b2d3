"""Whether this gateway can serve. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    store_is_up: bool
    engines: dict[str, str]
    """Mode by name, or "down"."""

    @property
    def is_ready(self) -> bool:
        return self.store_is_up and any(mode != "down" for mode in self.engines.values())
