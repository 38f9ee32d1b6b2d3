"""What is left to Python's collector of garbage: objects that refer to each other and to which nobody else does."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator


@contextlib.contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Filled when the block is left: how many of which of the gateway's classes, and of the server's requests, were in
    it."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        names = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
        found.update(name for name in names if name.startswith("gateway.") or name.endswith("RequestResponseCycle"))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
