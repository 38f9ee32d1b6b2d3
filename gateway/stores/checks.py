"""What both stores refuse, in the same words: a bad value is a ValueError before anything is touched.

Numbers come back as plain floats without negative zero, since -0.0 and 0.0 are equal but print apart.
"""

from math import isfinite

from gateway.fairness.units import KvTokenTime, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST, MAX_WEIGHT

MAX_INCARNATION = 2**63 - 1
"""Nanoseconds since 1970 reach it in the year 2262."""


def checked_cost(value: KvTokenTime) -> KvTokenTime:
    if not 0 <= value <= MAX_COST:  # also refuses NaN
        raise ValueError(f"cost must lie between 0 and {MAX_COST:g}, got {value!r}")
    return KvTokenTime(float(value) + 0.0)


def checked_service(value: KvTokenTime) -> KvTokenTime:
    return KvTokenTime(_not_negative("service", value))


def checked_counter(value: KvTokenTime) -> KvTokenTime:
    return KvTokenTime(_not_negative("counter", value))


def checked_virtual_time(value: VirtualTime) -> VirtualTime:
    return VirtualTime(_not_negative("virtual time", value))


def checked_weight(value: Weight) -> Weight:
    if not (isinstance(value, int) and 1 <= value <= MAX_WEIGHT):
        raise ValueError(f"weight must be a whole number of thousandths between 1 and {MAX_WEIGHT}, got {value!r}")
    return Weight(int(value))


def checked_incarnation(value: int) -> int:
    if not (isinstance(value, int) and 0 <= value <= MAX_INCARNATION):
        raise ValueError(f"incarnation must be a whole number between 0 and {MAX_INCARNATION}, got {value!r}")
    return int(value)


def checked_time_s(value: float) -> float:
    """Unix seconds."""
    if not isfinite(value):
        raise ValueError(f"time must be finite, got {value!r}")
    return float(value) + 0.0


def checked_limit(value: int) -> int:
    if value < 0:
        raise ValueError(f"limit must not be negative, got {value!r}")
    return value


def checked_text(value: str) -> str:
    """Ids, tenants, kinds and sources are keys and fields in Redis, so they must have a UTF-8 form."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"not valid text: {value!a}") from None
    return value


def _not_negative(what: str, value: float) -> float:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{what} must be finite and not negative, got {value!r}")
    return float(value) + 0.0
