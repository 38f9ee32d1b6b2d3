"""What goes in and what comes out: the facts of one HTTP request, and who it turned out to be."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gateway.fairness.units import ApplicationId
from gateway.values import value

RuleName = Literal["path", "header", "session", "body", "trace", "lineage", "none"]
"""Which rule named the application: a closed set, fit for a metric label and for X-Justitia-Identity. `lineage` is
inferred; all others were said."""


@value
class RequestFacts:
    """One request as it was sent. `call_id` is the gateway's own name for it, new for every call."""

    path: str
    """Raw: still percent-encoded, without the query."""
    headers: Sequence[tuple[str, str]] | Mapping[str, str]
    """In the order sent, duplicates included, names in any case; or by name in lower case, of several of one name the
    first that says anything."""
    call_id: str
    fields: Mapping[str, Any] | None = None
    """The body, parsed; None where there is none. Values may be anything that JSON can say."""


@value
class Identity:
    """Whose call this is. Names and ids are printable ASCII without spaces; an id has at most 256 characters."""

    tenant: str
    application_id: ApplicationId
    application: str
    """The name the client sees; sent back as an application or a parent it means the same application again."""
    rule: RuleName
    kind: str
    """Of [a-z0-9_-], at most 64; clients choose it freely, so it passes a KindRegistry before it is a label."""
    parent: ApplicationId | None
    root: ApplicationId
    """Where service is charged and order decided: the topmost application that is known of, else itself."""
    is_final: bool
    """Nothing more will come for `application_id`. Says nothing of its root: see `is_root_final`."""
    upstream_path: str
    """What to route by and to ask the engine for: the path without /apps/…; one leading slash, only characters that
    a URL's path may hold. Dot segments are left as sent: a router that knows its paths refuses them."""

    @property
    def is_root_final(self) -> bool:
        """The root itself has ended; a child's end leaves its root open."""
        return self.is_final and self.root == self.application_id
