"""The demo as seen in a terminal: results on stdout; waiting, progress and errors on stderr."""

import sys
from typing import Any

_SPOKES = "|/-\\"


class Terminal:
    """Moving lines (seconds gone by, bars) are drawn only where somebody can see them move."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._announced: str | None = None

    def say(self, line: str) -> None:
        self._clear()
        print(line, flush=True)

    def complain(self, line: str) -> None:
        self._clear()
        print(f"justitia demo: {line}", file=sys.stderr, flush=True)

    def waiting(self, what: str, seconds: float) -> None:
        if self._is_live:
            spoke = _SPOKES[int(seconds * 5) % len(_SPOKES)]
            print(f"\r{spoke} {what}: {seconds:.0f} s ", end="", file=sys.stderr, flush=True)
        elif self._announced != what:
            print(f"{what} …", file=sys.stderr, flush=True)
        self._announced = what

    def counting(self, title: str, total: int) -> "Bar":
        self._clear()
        return Bar(title, total, self._is_live)

    def _clear(self) -> None:
        if self._is_live and self._announced is not None:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._announced = None


class Bar:
    def __init__(self, title: str, total: int, is_live: bool) -> None:
        # Only here is it certain that the extra is installed: the command has checked.
        from tqdm import tqdm

        self._bar: Any = tqdm(total=total, desc=title, unit="call", leave=False, disable=not is_live, file=sys.stderr)

    def step(self) -> None:
        self._bar.update()

    def close(self) -> None:
        self._bar.close()
