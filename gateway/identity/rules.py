"""Rules 1 to 3, in order, and 7: what names an application in a call's path and headers, and what if nothing does.

Each knows one carrier and nothing of the others: it reads the evidence and answers a claim, or None: not mine. Rules 4
to 6 may need what earlier calls left: they are in `clues` and `lineage`.
"""

from collections.abc import Callable

from gateway.identity.evidence import Evidence
from gateway.identity.facts import RuleName
from gateway.identity.kinds import DEFAULT_KIND, safe_kind
from gateway.identity.names import joined_name, safe_name
from gateway.identity.vendors import read_session
from gateway.values import value


@value
class Claim:
    """What a rule found, in safe names. Without a root of its own, an application is its own root."""

    application: str
    kind: str = DEFAULT_KIND
    parent: str | None = None
    root: str | None = None
    is_final: bool = False


@value
class Rule:
    name: RuleName
    claim: Callable[[Evidence], Claim | None]


def by_path(evidence: Evidence) -> Claim | None:
    """Rule 1. With a run, the application's name is the kind and the run one instance of it."""
    application, run = evidence.path.application, evidence.path.run
    if application is None:
        return None
    if run is None:
        return Claim(safe_name(application))
    return Claim(joined_name(safe_name(application), safe_name(run)), kind=safe_kind(application))


def by_header(evidence: Evidence) -> Claim | None:
    """Rule 2."""
    application = evidence.name_in(("x-justitia-application",))
    return None if application is None else Claim(application)


def by_session(evidence: Evidence) -> Claim | None:
    """Rule 3."""
    session = read_session(evidence)
    if session is None:
        return None
    return Claim(session.name, parent=session.parent, root=session.root, is_final=session.is_final)


def alone(evidence: Evidence, *, may_go_on: bool) -> Claim:
    """Rule 7, last: the call is an application of its own, and ends with it, unless a later one may continue it."""
    return Claim(safe_name(evidence.call_id), is_final=not may_go_on)


RULES: tuple[Rule, ...] = (
    Rule("path", by_path),
    Rule("header", by_header),
    Rule("session", by_session),
)
"""Tried in order, before any that costs more."""
