"""What is killed, and where whoever is on call should see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["redis", "engine", "gateway"]


@dataclass(frozen=True, slots=True)
class Kill:
    name: str
    part: Part
    alert: str
    panel: str
    """Of *Justitia: operators*."""
    says_lost: re.Pattern[str] | None
    """In the gateway's log; None: it can say nothing any more."""
    says_back: re.Pattern[str]
    num_gateways: int = 1
    """Over one Redis; one of them is killed."""

    def is_told_by_readyz(self, answer: Mapping[str, Any] | None) -> bool:
        """`answer`: None where nobody answers."""
        if answer is None or self.part == "gateway":
            return answer is None
        wanted = "state store" if self.part == "redis" else "no engine answers"
        return any(wanted in words for words in answer["missing"])

    def is_told_by_overview(self, answer: Mapping[str, Any] | None) -> bool:
        if answer is None or self.part == "gateway":
            return answer is None
        if self.part == "redis":
            return bool(answer["store"] == "down")
        return any(engine["mode"] == "down" for engine in answer["engines"])


_SERVES = re.compile("Uvicorn running")

KILLS = (
    Kill(
        "redis",
        "redis",
        "JustitiaStoreDown",
        "Store up",
        re.compile("state store is away"),
        re.compile("state store is back.*entered again"),
    ),
    Kill(
        "engine",
        "engine",
        "JustitiaEngineDown",
        "Engines up",
        re.compile("engine .* is lost"),
        re.compile("engine .* was restarted"),
    ),
    Kill("gateway", "gateway", "JustitiaGatewayDown", "Gateways up", None, _SERVES),
    Kill("one of two gateways", "gateway", "JustitiaGatewayDown", "Gateways up", None, _SERVES, num_gateways=2),
)
