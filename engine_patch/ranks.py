"""From what a request carries to its place in vLLM's priority order.

A rank is an opaque int in [0, 2**63), smaller first: the gateway sends the order-preserving bits of a virtual finish
time. It arrives as vLLM's own priority (header `X-Vllm-Priority`), the application as vLLM's session id
(`X-Session-ID`), the call id inside the request id (`X-Request-Id`). Only ints cross a process boundary; the tuple
lives in the scheduler alone.
"""

import re
from typing import Protocol

Priority = tuple[int, str]
"""(rank, application id): ties go by application, and within one application by vLLM's own arrival time."""

CALL_ID_SEPARATOR = "\x1f"
"""Where a route builds its own request id (responses), our middleware appends the call id to the session id after this
character, which no header may contain on the wire; the scheduler takes it off again."""

_CALL_ID = re.compile(r"call-[0-9a-f]{32}")


class RankedRequest(Protocol):
    """The part of vLLM's Request that matters for order."""

    request_id: str
    session_id: str | None
    priority: object


def priority_of(priority: object, session_id: object) -> Priority:
    """The tuple that vLLM will compare. Total: what is not an int ranks 0, as a request without a priority does."""
    rank = priority if isinstance(priority, int) else 0
    return int(rank), session_id if isinstance(session_id, str) else ""


def split_session(session_id: str | None) -> tuple[str, str]:
    """(application id, call id or "")."""
    application_id, _, call_id = (session_id or "").partition(CALL_ID_SEPARATOR)
    return application_id, call_id


def call_id_in(request_id: str) -> str:
    """The gateway's call id within vLLM's request id, else "".

    vLLM writes `chatcmpl-<call id>-<8 random characters>`, `cmpl-<call id>-<prompt index>-<8 random>`, and puts
    `<child index>_` in front of each of the n answers of one call; all n carry the same call id.
    """
    found = _CALL_ID.search(request_id)
    return found.group() if found else ""
