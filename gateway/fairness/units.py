"""The quantities of the algorithm as types, so that a checker tells tokens from token-iterations."""

from typing import NewType

ApplicationId = NewType("ApplicationId", str)
"""Names one application within the whole deployment: the tenant is part of it (see `gateway.identity`)."""

Tokens = NewType("Tokens", int)

KvTokenTime = NewType("KvTokenTime", float)
"""KV-cache memory held over time: one token held for one engine iteration is 1 (token·iterations)."""

VirtualTime = NewType("VirtualTime", float)
"""Service per unit of weight (token·iterations per unit weight): the clock's reading and finish times."""

Weight = NewType("Weight", int)
"""An application's share in thousandths: 1000 is one unit. Integers, so that sums are exact in any order."""

UNIT_WEIGHT = Weight(1000)
