"""Rule 3's table: the session headers that coding agents and other gateways' clients send unchanged.

Two shapes of family occur. A client that sends the root's session with every agent names its agents *within* the
session (`agents`): their names are joined to it and they fold into it, however deep. A client that gives each child
a session of its own names the *other session* it belongs to (`parent_sessions`): that one is parent and root.
"""

from gateway.identity.evidence import Evidence
from gateway.identity.names import is_safe_name, joined_name
from gateway.values import value


@value
class Vendor:
    """Who sends it, and in which headers (lower case; of several, the first that was sent counts)."""

    name: str
    sessions: tuple[str, ...]
    agents: tuple[str, ...] = ()
    parent_agents: tuple[str, ...] = ()
    parent_sessions: tuple[str, ...] = ()
    finals: tuple[str, ...] = ()


# The client's own headers stand before a gateway's or a router's: what a hop in between adds is coarser or copied.
VENDORS = (
    # Subagents keep the session's id and add their own; the parent's is sent only from the second level down.
    Vendor(
        "claude-code",
        sessions=("x-claude-code-session-id",),
        agents=("x-claude-code-agent-id",),
        parent_agents=("x-claude-code-parent-agent-id",),
    ),
    # Hyphens since 2026, underscores before. Subagents are threads of the session; its first thread has the session's
    # id. Where no session is sent, the thread stands for it and its parent thread for the parent session.
    Vendor(
        "codex",
        sessions=("session-id", "session_id", "thread-id", "thread_id"),
        agents=("thread-id", "thread_id"),
        parent_agents=("x-codex-parent-thread-id",),
        parent_sessions=("x-codex-parent-thread-id",),
    ),
    # The first goes to its own service, the others to any provider; a subagent's session is its own.
    Vendor(
        "opencode",
        sessions=("x-opencode-session", "x-session-id", "x-session-affinity"),
        parent_sessions=("x-parent-session-id",),
    ),
    Vendor("qwen-code", sessions=("x-qwen-code-session-id",)),
    # NVIDIA Dynamo's agent context; one last call with the final header ends a session.
    Vendor(
        "dynamo",
        sessions=("x-dynamo-session-id",),
        parent_sessions=("x-dynamo-parent-session-id",),
        finals=("x-dynamo-session-final",),
    ),
    Vendor("litellm", sessions=("x-litellm-session-id", "x-litellm-trace-id")),
    # A flow of llm-d's router: whatever it was told to be fair between.
    Vendor("llm-d", sessions=("x-llm-d-inference-fairness-id",)),
)

_SESSION_HEADERS = frozenset(header for vendor in VENDORS for header in vendor.sessions)

MIN_GENERIC_CHARS = 8
"""A header we only guess to be a session's must hold what looks like an id, not `1` or `true`."""


@value
class Session:
    """What a vendor's headers say, in safe names. Without a parent the root is the session itself."""

    name: str
    parent: str | None
    root: str
    is_final: bool = False


def read_session(evidence: Evidence) -> Session | None:
    """The first vendor whose session is named, else any `x-<vendor>-session-id` that looks like one."""
    if not _SESSION_HEADERS.isdisjoint(evidence.headers):  # most calls have none of them: one look instead of seven
        for vendor in VENDORS:
            session = evidence.name_in(vendor.sessions)
            if session is not None:
                return _vendor_session(vendor, session, evidence)
    return _generic_session(evidence)


def _vendor_session(vendor: Vendor, session: str, evidence: Evidence) -> Session:
    is_final = evidence.is_true(vendor.finals)
    agent = evidence.name_in(vendor.agents)
    if agent is not None and agent != session:
        name = joined_name(session, agent)
        parent_agent = evidence.name_in(vendor.parent_agents)
        if parent_agent is None or parent_agent in (agent, session):
            return Session(name, session, session, is_final)
        return Session(name, joined_name(session, parent_agent), session, is_final)
    return _with_parent_session(session, evidence.name_in(vendor.parent_sessions), is_final)


def _generic_session(evidence: Evidence) -> Session | None:
    # In order of name, because proxies may reorder headers.
    for header in sorted([header for header in evidence.headers if header.endswith("-session-id")]):
        if not header.startswith("x-") or header.endswith("-parent-session-id"):
            continue
        session = evidence.text_in((header,))
        if session is not None and len(session) >= MIN_GENERIC_CHARS and is_safe_name(session):
            parent = evidence.name_in((header.removesuffix("session-id") + "parent-session-id",))
            return _with_parent_session(session, parent, is_final=False)
    return None


def _with_parent_session(session: str, parent: str | None, is_final: bool) -> Session:
    if parent is None or parent == session:
        return Session(session, None, session, is_final)
    return Session(session, parent, parent, is_final)
