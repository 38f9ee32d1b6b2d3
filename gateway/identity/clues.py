"""Rules 4 and 5: what a body or a trace says, of an application by name or of an earlier call by its link.

What a client says outright comes first; within a rule, an application's own name before what only hints at one.
`user` and `safety_identifier` name a person, who may run many applications at once: they never group.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.identity.evidence import Evidence, said
from gateway.identity.facts import RuleName
from gateway.identity.links import LinkKey, link_key
from gateway.identity.names import safe_name
from gateway.values import value

_SESSION_MARK = "_session_"
_MAX_USER_ID_CHARS = 4096
"""Of one that is JSON; what is sent has some two hundred."""

_MAX_BAGGAGE_CHARS = 8192
_MAX_BAGGAGE_MEMBERS = 64
"""Both as W3C's recommendation has them: more need not be passed on by anybody."""
_BAGGAGE_KEYS = ("session.id", "gen_ai.conversation.id")

# Version ff is forbidden, 00 ends here, later ones may go on.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)


@value
class Clue:
    """Leads to an application: the one that `key` is linked to, if it is, else the one of this `name`, if it has one.
    A clue with a name is the last that is needed."""

    rule: RuleName
    key: LinkKey | None = None
    name: str | None = None


def body_clue(fields: Mapping[str, Any], tenant: str) -> Clue | None:
    """Rule 4. An unknown response or conversation stands for itself: what continues it belongs together."""
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = said(metadata.get("application_id"))
    if name is not None:
        return Clue("body", name=safe_name(name))
    response = said(fields.get("previous_response_id"))
    if response is not None:
        return Clue("body", link_key("response", tenant, response), safe_name(response))
    conversation = conversation_in(fields)
    if conversation is not None:
        return Clue("body", link_key("conversation", tenant, conversation), safe_name(conversation))
    name = _session_in(metadata.get("user_id")) or said(fields.get("prompt_cache_key"))
    return None if name is None else Clue("body", name=safe_name(name))


def conversation_in(fields: Mapping[str, Any]) -> str | None:
    """The id of the Responses API's conversation, which may stand in an object."""
    conversation = fields.get("conversation")
    return said(conversation.get("id") if isinstance(conversation, dict) else conversation)


def _session_in(user_id: object) -> str | None:
    """Claude Code's: `user_…_account_…_session_{id}`, or JSON with a session_id in it. Any other names a person."""
    text = said(user_id)
    if text is None:
        return None
    if text[0] != "{":
        _, mark, session = text.rpartition(_SESSION_MARK)
        return session or None if mark else None
    if len(text) > _MAX_USER_ID_CHARS:
        return None
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said(claims.get("session_id"))  # text that begins with a brace is an object, or no JSON


def trace_clue(evidence: Evidence, tenant: str) -> Clue | None:
    """Rule 5. A session in the baggage is an application at once; a trace is one when a second call carries it."""
    session = _baggage_session(evidence.text_in(("baggage",)))
    if session is not None:
        return Clue("trace", name=safe_name(session))
    trace = _trace_id(evidence.text_in(("traceparent",)))
    return None if trace is None else Clue("trace", link_key("trace", tenant, trace))


def _baggage_session(header: str | None) -> str | None:
    """Longer than W3C allows, it says nothing: cut off, an id would be another's."""
    if header is None or len(header) > _MAX_BAGGAGE_CHARS:
        return None
    members: dict[str, str] = {}
    for member in header.split(",", _MAX_BAGGAGE_MEMBERS)[:_MAX_BAGGAGE_MEMBERS]:
        key, _, value = member.partition(";")[0].partition("=")
        members.setdefault(key.strip(" \t"), value)
    for key in _BAGGAGE_KEYS:
        session = said(_percent_decoded(members.get(key, "").strip(" \t")))
        if session is not None:
            return session
    return None


def _percent_decoded(text: str) -> str:
    """Different bytes stay different, valid UTF-8 or not."""
    return unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")


def _trace_id(header: str | None) -> str | None:
    found = _TRACEPARENT.fullmatch(header) if header is not None else None
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return found["trace"]
