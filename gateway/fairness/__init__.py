"""Fair order in virtual time: the theory of operation.

The unit is the *application*: a set of LLM calls with one goal. What its user feels is when its last call ends. What
runs out in an engine is KV-cache memory. So applications are the parties, and KV memory held over time is what they
share, after *Justitia: Fair and Efficient Scheduling for LLM Applications* (arXiv 2510.17015):

    p, d    prompt and output tokens of a call
    c       cost of a call, p·d + d(d+1)/2: KV token-time, in token·iterations           `cost`
    C       cost of an application, the sum of c; predicted on arrival, settled on close
    w       weight, in thousandths (1000 is one unit)
    GPS     the ideal fluid server: at every instant the backlogged share the memory     `gps`
            in proportion to their weights
    V       virtual time: grows by service delivered / sum of the weights of the         `virtual_clock`
            backlogged; token·iterations per unit of weight
    S, F    virtual start (V on arrival) and virtual finish time, F = S + C / w

GPS finishes applications in the order of F, and F does not depend on who comes later. The rule is then to serve the
calls of the application with the smallest F first and let it fill the whole memory: everybody waits their turn instead
of sharing, and with exact costs on one preemptive server nobody finishes later than sharing would have let them (the
Fair Sojourn Protocol of Friedman and Henderson). Ties go by application id, then by arrival.

A worked example, with equal weights. A costs 100 and B 50; A arrives first, yet B goes first:

    >>> clock = VirtualClock()
    >>> clock.arrive(ApplicationId("A"), KvTokenTime(100.0)), clock.arrive(ApplicationId("B"), KvTokenTime(50.0))
    (100.0, 50.0)
    >>> clock.backlogged()
    ['B', 'A']

Of 120 of service, 100 go half and half until V meets F of B. B has left GPS, so the other 20 move V at twice the pace:

    >>> clock.serve(KvTokenTime(120.0)), clock.backlogged()
    (70.0, ['A'])

30 more finish A. Nobody is backlogged then, and V stands still however much is served:

    >>> clock.serve(KvTokenTime(1000.0)), clock.backlogged()
    (100.0, [])

What is approximated. A call in progress is not stopped for a newcomer with a smaller F, and memory comes in whole
calls, so an application can finish later than in GPS: by at most 2·M·D of service, where M is the engine's memory in
tokens and D the longest stay of a call in iterations, if all of its calls are there when it arrives.

Costs are predictions while an application runs. One that has had more than was predicted is placed by what it has had
(`cost.counted_cost`), and settling on close puts the books right. docs/algorithm.md has the derivations, a longer
example and what departs from the paper.

`policies` puts this order and six others behind one type. The package is pure: no clock but the virtual one, no log, no
await, nothing but the standard library. It is fed events and answers with numbers.
"""

from gateway.fairness.cost import (
    application_cost,
    call_cost,
    counted_cost,
    remaining_cost,
    settled_call_cost,
    token_cost,
)
from gateway.fairness.gps import FluidArrival, FluidFinish, fluid_gps
from gateway.fairness.policies import (
    POLICY_NAMES,
    ApplicationView,
    CallView,
    Policy,
    PolicyName,
    policy_named,
)
from gateway.fairness.shares import SHARES_NAMES, ApplicationClock, Shares, SharesName, shares_named
from gateway.fairness.tenant_clock import TenantClock
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.fairness.virtual_clock import MAX_COST, MAX_WEIGHT, UnknownApplication, VirtualClock

__all__ = [
    "MAX_COST",
    "MAX_WEIGHT",
    "POLICY_NAMES",
    "SHARES_NAMES",
    "UNIT_WEIGHT",
    "ApplicationClock",
    "ApplicationId",
    "ApplicationView",
    "CallView",
    "FluidArrival",
    "FluidFinish",
    "KvTokenTime",
    "Policy",
    "PolicyName",
    "Shares",
    "SharesName",
    "TenantClock",
    "Tokens",
    "UnknownApplication",
    "VirtualClock",
    "VirtualTime",
    "Weight",
    "application_cost",
    "call_cost",
    "counted_cost",
    "fluid_gps",
    "policy_named",
    "remaining_cost",
    "settled_call_cost",
    "shares_named",
    "token_cost",
]
