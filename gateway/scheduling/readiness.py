"""Whether this gateway can serve. Pure."""

from gateway.values import value


@value
class Readiness:
    store_is_up: bool
    engines: dict[str, str]
    """Mode by name, or "down"."""

    @property
    def is_ready(self) -> bool:
        return self.store_is_up and any(mode != "down" for mode in self.engines.values())
