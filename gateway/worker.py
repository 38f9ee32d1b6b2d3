"""One of several gateway processes, as gateway.workers starts it:

    python -m gateway.worker NUMBER FOLDER LOG_LEVEL LINK_FD LISTENING_FD …

The settings come over the link, in one line: they hold keys, which belong neither on a command line nor in a file.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import logs, server
from gateway.metrics import remove_worker, share_metrics
from gateway.settings import Settings


def main(argv: Sequence[str]) -> int:
    number, folder, log_level = int(argv[0]), Path(argv[1]), argv[2]
    link, *listeners = (socket.socket(fileno=int(fd)) for fd in argv[3:])
    share_metrics(folder, number)
    line = _line(link)
    status = 1  # the parent went before it had said all
    if line.endswith(b"\n"):
        settings = Settings.model_validate_json(line)
        logs.set_up(log_level, settings.logs.format, number)
        status = server.run(settings, server.Parent(tuple(listeners), link))
    if _is_closed(link):  # nobody else is left to do it
        remove_worker(folder, number)
    return status


def _line(link: socket.socket) -> bytes:
    link.setblocking(True)
    with link.makefile("rb") as lines:
        return lines.readline()


def _is_closed(link: socket.socket) -> bool:
    link.setblocking(False)
    try:
        return link.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
