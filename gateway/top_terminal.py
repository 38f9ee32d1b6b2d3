"""A terminal taken over for a while and given back as it was, also when it was stopped in between (Ctrl-Z)."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from enum import Enum, auto
from types import FrameType, TracebackType
from typing import NoReturn

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_LOOK_S = 0.2
"""Between two looks at the size and at what is to be shown."""


class Key(Enum):
    NOTHING = auto()
    QUIT = auto()
    UP = auto()
    DOWN = auto()
    NONE_CHOSEN = auto()


_KEYS = {
    b"q": Key.QUIT,
    b"Q": Key.QUIT,
    b"\x1b[A": Key.UP,
    b"\x1bOA": Key.UP,
    b"k": Key.UP,
    b"\x1b[B": Key.DOWN,
    b"\x1bOB": Key.DOWN,
    b"j": Key.DOWN,
    b"\x1b": Key.NONE_CHOSEN,
}


class LiveTerminal:
    """A context: within it the screen is ours. Ctrl-C raises KeyboardInterrupt, SIGTERM and SIGHUP SystemExit."""

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._shown: list[str] = []
        self._shown_at: tuple[int, int] | None = None

    def __enter__(self) -> "LiveTerminal":
        self._before = termios.tcgetattr(self._in)
        self._handlers = {
            number: signal.signal(number, handler)
            for number, handler in ((signal.SIGTERM, _end), (signal.SIGHUP, _end), (signal.SIGTSTP, self._stop))
        }
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def size(self) -> tuple[int, int]:
        """(columns, lines), at least one of each."""
        columns, lines = os.get_terminal_size(self._out)
        return max(1, columns), max(1, lines)

    def show(self, lines: Sequence[str]) -> None:
        """Writes what differs from what is there."""
        size = self.size()
        if size != self._shown_at:
            self._write("\x1b[2J")
            self._shown, self._shown_at = [], size
        wanted = list(lines[: size[1]])
        changes = [
            f"\x1b[{number};1H{line}\x1b[K"
            for number, line in enumerate(wanted, 1)
            if number > len(self._shown) or self._shown[number - 1] != line
        ]
        changes += [f"\x1b[{number};1H\x1b[K" for number in range(len(wanted) + 1, len(self._shown) + 1)]
        self._write("".join(changes))
        self._shown = wanted

    def key(self) -> Key:
        """The one pressed within a fifth of a second."""
        ready, _, _ = select.select([self._in], [], [], _LOOK_S)
        if not ready:
            return Key.NOTHING
        pressed = os.read(self._in, 64)
        if not pressed:  # the terminal is gone
            return Key.QUIT
        return _KEYS.get(pressed, Key.QUIT if pressed[:1] in (b"q", b"Q") else Key.NOTHING)

    def _take(self) -> None:
        tty.setcbreak(self._in, termios.TCSANOW)
        self._write(_ENTER)
        self._shown_at = None

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        except (OSError, termios.error):
            pass  # it was closed: there is nothing to give back

    def _write(self, text: str) -> None:
        content = text.encode("utf-8", "replace")
        while content:
            content = content[os.write(self._out, content) :]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its terminal back meanwhile."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
