"""Log lines on stderr: time, level, where, what. No prompt text, ever."""

import logging


def set_up(level: str = "INFO") -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One line a request from the upstream client says nothing that the metrics do not.
    logging.getLogger("httpx").setLevel(logging.WARNING)
