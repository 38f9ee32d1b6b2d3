"""A closed application as one line of JSON: what a history holds, in a file and in Redis alike.

Nothing that anybody wrote: names, numbers, and features that hold no text longer than a name. What cannot be read back
is not written.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.fairness.virtual_clock import MAX_COST
from gateway.ports import ClosedApplication, Progress
from gateway.stores.strict_json import (
    checked_count,
    checked_list,
    checked_name,
    checked_number,
    checked_plain,
    object_from,
    written,
)

FORMAT = 1
MAX_BYTES = 128 * 1024
"""Of one application: 512 hashed words and a thousand steps of progress take half of it."""
MAX_PROGRESS = 1024

_FIELDS = frozenset({"closed_at", "kind", "predicted_cost", "low", "high", "predictor", "cost", "features", "progress"})
_MAX_COUNT = 2**53
"""The whole numbers that every reader of JSON has."""
_MAX_TIME_S = 1e11
"""The year 5138: milliseconds taken for seconds lie beyond."""
_LEAST_COST = 5e-324
"""More than nothing: training takes its logarithm."""


def closed_to_json(closed: ClosedApplication) -> str:
    """Without a newline. Raises ValueError for what `closed_from_json` would refuse."""
    text = written(
        {
            "format": FORMAT,
            "closed_at": closed.closed_at,
            "kind": closed.kind,
            "predicted_cost": closed.predicted_cost,
            "low": closed.low,
            "high": closed.high,
            "predictor": closed.predictor,
            "cost": closed.cost,
            "features": dict(closed.features),
            "progress": [[p.num_ended, p.num_open, p.open_prompt_tokens, p.service] for p in closed.progress],
        }
    )
    closed_from_json(text.encode())
    return text


def closed_from_json(text: bytes) -> ClosedApplication:
    """Raises ValueError."""
    value = object_from(text, max_bytes=MAX_BYTES, format_number=FORMAT, fields=_FIELDS)
    features = value["features"]
    if not isinstance(features, dict):
        raise ValueError("features must be an object")
    checked_plain("features", features)
    return ClosedApplication(
        closed_at=checked_number("closed_at", value["closed_at"], 0.0, _MAX_TIME_S),
        kind=checked_name("kind", value["kind"]),
        predicted_cost=_cost("predicted_cost", value["predicted_cost"]),
        low=None if value["low"] is None else _cost("low", value["low"]),
        high=None if value["high"] is None else _cost("high", value["high"]),
        predictor=checked_name("predictor", value["predictor"]),
        cost=_cost("cost", value["cost"], _LEAST_COST),
        features=features,
        progress=tuple(_progress(step) for step in checked_list("progress", value["progress"], MAX_PROGRESS)),
    )


def readable(lines: Iterable[bytes]) -> Iterator[ClosedApplication]:
    """Those that can be read, in their order."""
    for line in lines:
        try:
            yield closed_from_json(line)
        except ValueError:  # another version's, or half a line: no reader could help it
            continue


def _cost(what: str, value: object, least: float = 0.0) -> KvTokenTime:
    return KvTokenTime(checked_number(what, value, least, MAX_COST))


def _progress(step: Any) -> Progress:
    if len(checked_list("progress", step, 4)) != 4:
        raise ValueError("a step of progress must be an array of 4")
    num_ended, num_open, open_prompt_tokens, service = step
    return Progress(
        num_ended=checked_count("num_ended", num_ended, _MAX_COUNT),
        num_open=checked_count("num_open", num_open, _MAX_COUNT),
        open_prompt_tokens=Tokens(checked_count("open_prompt_tokens", open_prompt_tokens, _MAX_COUNT)),
        service=_cost("service", service),
    )
