"""Is the artifact in use worth its place? Pure.

Errors are |log(predicted / true)|, so that a factor too much and a factor too little count alike. The artifact is
measured on what it predicted, beside what its predecessor and the kind's running mean would have said of the very same
applications: traffic that has become harder is hard for all of them, and no reason to go back.
"""

from collections import deque
from collections.abc import Mapping
from statistics import fmean

WINDOW = 200
"""Closed applications: some minutes of a busy gateway."""
MIN_SEEN = 50
"""Before that, chance decides."""
TOLERANCE = 1.1
"""A rival must be this much better: going back and forth helps nobody."""


class Watch:
    """One artifact's time in use."""

    def __init__(self) -> None:
        self._served: deque[float] = deque(maxlen=WINDOW)
        self._rivals: dict[str, deque[float]] = {}

    def note(self, served: float, rivals: Mapping[str, float]) -> None:
        """One application's errors: as predicted, and as each rival would have predicted it."""
        self._served.append(served)
        for name, error in rivals.items():
            self._rivals.setdefault(name, deque(maxlen=WINDOW)).append(error)

    @property
    def mean_error(self) -> float | None:
        """Of the latest; None before there are enough."""
        return fmean(self._served) if len(self._served) >= MIN_SEEN else None

    def better_rival(self) -> str | None:
        """Who would have been better by far. One that was not asked every time is compared over its own times."""
        if self.mean_error is None:
            return None
        found = None
        for name, errors in self._rivals.items():
            if len(errors) < MIN_SEEN:
                continue
            served = fmean(list(self._served)[-len(errors) :])
            if served > TOLERANCE * fmean(errors) and (found is None or fmean(errors) < fmean(self._rivals[found])):
                found = name
        return found
