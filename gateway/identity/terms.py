"""What a tenant was given: its share, and how much it may ask for."""

from dataclasses import dataclass

from gateway.fairness.units import UNIT_WEIGHT, Weight
from gateway.fairness.virtual_clock import MAX_COST, MAX_WEIGHT

MAX_CALLS = 1_000_000
"""Of one tenant: more connections than a host has."""
MAX_TOKENS_PER_MINUTE = 10**12


@dataclass(frozen=True, slots=True)
class TenantTerms:
    """None is no limit of its own: what the gateway as a whole can bear limits it then.

    Raises ValueError for terms nobody can have meant, such as none to run.
    """

    weight: Weight = UNIT_WEIGHT
    """Of each of its applications."""
    max_running_calls: int | None = None
    """In engines at the same time; those beyond it wait."""
    max_waiting_calls: int | None = None
    """In the queue; those beyond it are refused."""
    tokens_per_minute: int | None = None
    """Prompt and completion."""
    kv_token_time_per_hour: float | None = None
    """token·iterations."""

    def __post_init__(self) -> None:
        _whole("weight", self.weight, 1, MAX_WEIGHT)
        if self.max_running_calls is not None:
            _whole("max_running_calls", self.max_running_calls, 1, MAX_CALLS)
        if self.max_waiting_calls is not None:
            _whole("max_waiting_calls", self.max_waiting_calls, 0, MAX_CALLS)
        if self.tokens_per_minute is not None:
            _whole("tokens_per_minute", self.tokens_per_minute, 1, MAX_TOKENS_PER_MINUTE)
        if self.kv_token_time_per_hour is not None:
            _amount("kv_token_time_per_hour", self.kv_token_time_per_hour, MAX_COST)


def _whole(what: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number between {least} and {most}, got {value!r:.40}")


def _amount(what: str, value: object, most: float) -> None:
    if type(value) not in (int, float) or not 0 < value <= most:  # type: ignore[operator] # also refuses NaN
        raise ValueError(f"{what} must be a number above 0, at most {most:g}, got {value!r:.40}")


NO_LIMITS = TenantTerms()
