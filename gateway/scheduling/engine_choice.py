"""Which engines a call may go to, of those that are up and serve its model. Pure.

A call that continues a stored response wants the engine that has it; one that comes back from an engine that failed
avoids that one. Both are wishes: where they leave nobody, anybody will do, and will say what it thinks of it.
"""

from collections.abc import Sequence

from gateway.scheduling.engine_window import EngineWindow
from gateway.scheduling.model import Call

MAX_ASIDE = 64
"""Calls with wishes that are passed in one turn, because their engine is full while another is not. After so many the
next one holds up those behind it: looking at each again and again has its price."""


def fit_for(call: Call, serving: Sequence[EngineWindow]) -> Sequence[EngineWindow]:
    if call.wants is None and call.avoids is None:
        return serving
    wanted = [engine for engine in serving if engine.name == call.wants]
    return wanted or [engine for engine in serving if engine.name != call.avoids] or serving
