"""What predictors learn from, and where they are kept."""

from collections.abc import Mapping
from typing import Protocol

from gateway.fairness.units import KvTokenTime
from gateway.ports.predictor import Progress
from gateway.values import value


@value
class ClosedApplication:
    """What is kept of an application when it has closed: for training, and to see how wrong predictions are."""

    closed_at: float
    """Unix seconds."""
    kind: str
    predicted_cost: KvTokenTime
    """When its first call came."""
    low: KvTokenTime | None
    high: KvTokenTime | None
    predictor: str
    cost: KvTokenTime
    """Measured; more than 0."""
    features: Mapping[str, object]
    progress: tuple[Progress, ...]
    """After some of its calls: not every one of a long one's."""


class History(Protocol):
    """The latest closed applications, a bounded number of them. Shared where the store is.

    All raise `gateway.errors.StoreUnavailable` when it cannot be reached in time, or written.
    """

    async def append(self, *closed: ClosedApplication) -> None:
        """In this order. Raises ValueError, and appends none, for what could not be read back."""
        ...

    async def read(self, limit: int) -> list[ClosedApplication]:
        """The latest, oldest first. Skips what cannot be read (another version's), and never raises for it."""
        ...

    async def aclose(self) -> None: ...


@value
class ShelfMark:
    """Which artifact is in use."""

    version: str
    previous: str | None
    """What it replaced, and what a roll-back goes to; None: the running mean."""
    rolled_back: tuple[str, ...] = ()
    """Versions that are not to be used again, latest last, at most 16."""


class ArtifactShelf(Protocol):
    """Trained predictors by version, of which one is in use. Shared where the store is. An artifact is a blob whose
    version is the first 16 hex digits of its SHA-256.

    All raise `gateway.errors.StoreUnavailable` when it cannot be reached in time, or written.
    """

    async def mark(self) -> ShelfMark | None:
        """None: nothing was ever published, or the mark cannot be read."""
        ...

    async def fetch(self, version: str) -> bytes | None:
        """None: not there. What it is worth is for the reader to check."""
        ...

    async def publish(self, blob: bytes) -> ShelfMark:
        """Put it there and take it into use; what is in use now becomes the previous one. No change if it is in use
        already, and none if it was rolled back. The last few versions are kept, older ones removed."""
        ...

    async def roll_back(self, version: str) -> ShelfMark | None:
        """If `version` is in use: the previous one is (version "" for the running mean), and `version` never again.
        Answers what is in use then. Of several gateways that ask at the same time, one changes it."""
        ...

    async def aclose(self) -> None: ...
