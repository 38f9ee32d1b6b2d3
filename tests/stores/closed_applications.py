"""Closed applications for tests."""

from dataclasses import replace

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import ClosedApplication, Progress

CLOSED = ClosedApplication(
    closed_at=1_700_000_000.25,
    kind="agent",
    predicted_cost=KvTokenTime(0.1 + 0.2),
    low=KvTokenTime(0.0),
    high=KvTokenTime(1e15),
    predictor="0123456789abcdef",
    cost=KvTokenTime(1 / 3),
    features={"prompt_tokens": 12, "max_tokens": None, "words": [[4_294_967_295, 3], [7, 1]], "lengths": [0.5, 1e-6]},
    progress=(
        Progress(1, 2, Tokens(300), KvTokenTime(0.0)),
        Progress(7, 0, Tokens(0), KvTokenTime(999_999_999_999_999.9)),
    ),
)


def closed(number: int) -> ClosedApplication:
    """Different ones, told apart by their cost."""
    return replace(CLOSED, cost=KvTokenTime(number + 1.0), progress=())


def numbers(read: list[ClosedApplication]) -> list[int]:
    return [int(application.cost) - 1 for application in read]
