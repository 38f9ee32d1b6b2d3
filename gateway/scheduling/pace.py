"""How fast something has gone lately. Pure, and bounded: a few counts a window."""

from collections import OrderedDict, deque

NUM_BUCKETS = 12

MAX_MODELS = 256
"""Beyond it the one dispatched longest ago is forgotten."""


class Pace:
    """Events of the last `window_s` seconds, to a twelfth of that. Times are seconds on one monotonic clock."""

    def __init__(self, window_s: float = 30.0) -> None:
        self._window_s = window_s
        self._width_s = window_s / NUM_BUCKETS
        self._buckets: deque[tuple[int, int]] = deque()
        self._num = 0
        self._began_at = 0.0

    def add(self, now: float) -> None:
        self._forget(now)
        if not self._buckets:
            self._began_at = now
        index = int(now / self._width_s)
        if self._buckets and self._buckets[-1][0] == index:
            self._buckets[-1] = (index, self._buckets[-1][1] + 1)
        else:
            self._buckets.append((index, 1))
        self._num += 1

    def count(self, now: float) -> int:
        self._forget(now)
        return self._num

    def per_second(self, now: float) -> float:
        """Over the window, or over what has passed of it since something came after a silence; 0: nothing came."""
        elapsed_s = min(self._window_s, max(self._width_s, now - self._began_at))
        return self.count(now) / elapsed_s

    def _forget(self, now: float) -> None:
        oldest = int(now / self._width_s) - NUM_BUCKETS
        while self._buckets and self._buckets[0][0] <= oldest:
            self._num -= self._buckets.popleft()[1]


class ModelPaces:
    """Calls of each model that left the queue. Only what an engine serves is dispatched, so they are few."""

    def __init__(self) -> None:
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def dispatched(self, model: str, now: float) -> None:
        pace = self._paces.get(model)
        if pace is None:
            if len(self._paces) >= MAX_MODELS:
                self._paces.popitem(last=False)
            pace = self._paces[model] = Pace()
        self._paces.move_to_end(model)
        pace.add(now)

    def wait_s(self, model: str, calls_ahead: int, now: float) -> float | None:
        """Until a call with so many ahead of it leaves; None: no call of the model has left lately."""
        pace = self._paces.get(model)
        per_second = pace.per_second(now) if pace is not None else 0.0
        return (1 + calls_ahead) / per_second if per_second > 0 else None
