"""How a program tells the gateway which application it is, and what it asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

KEY = "key-of-the-program"
QUESTION = "What is fair queueing?"
FOLLOW_UP = "How does it order?"
QUERY = "fair queueing – “bits”"
"""Not ASCII: clients write the tool calls of an answer anew, each in its own way, when they send them back."""
ANSWER = "Fair queueing shares a link."
SECOND_ANSWER = "By virtual finish times."


def look_up(query: str) -> str:
    """The tool that every program has."""
    return f"{query}: each flow in turn, by bits"


@dataclass(frozen=True, slots=True)
class Way:
    """What a program sets of its client, and the rule that must match for it."""

    rule: str
    prefix: str = ""
    """Of the base URL, before /v1."""
    headers: Mapping[str, str] = field(default_factory=dict)
    application: str | None = None
    """The name that must come out, where the way gives one."""
    continues: bool = False
    """Calls tell only that they continue an earlier one, so the first tells nothing."""

    @property
    def header_lines(self) -> str:
        """As the variables …_CUSTOM_HEADERS want them."""
        return "\n".join(f"{name}: {value}" for name, value in self.headers.items())


PATH = Way("path", prefix="/apps/research/runs/7", application="research:7")
HEADER = Way("header", headers={"X-Justitia-Application": "research:8"}, application="research:8")
SESSION = Way(
    "session",
    headers={"X-Claude-Code-Session-Id": "0b7c1a3e-6f0d-4d3a-9a55-3f4a1f1b2c3d"},
    application="0b7c1a3e-6f0d-4d3a-9a55-3f4a1f1b2c3d",
)
TRACE = Way("trace", headers={"baggage": "session.id=run-4711,other=1"}, application="run-4711")
CHAIN = Way("body", continues=True)
"""Of responses: each names the one before it."""
LINEAGE = Way("lineage", continues=True)
"""Nothing at all is set: only what the messages begin with tells."""

NAMED = (PATH, HEADER)
ALL = (PATH, HEADER, LINEAGE)


def by_rule(way: Way) -> str:
    """The name of a test's case."""
    return way.rule
