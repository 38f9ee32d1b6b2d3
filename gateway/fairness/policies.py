"""The orders in which calls are served: ours, and the baselines it is measured against.

A policy turns what is known of a call and its application into a rank; the scheduler serves the smallest
(rank, application id, order of arrival) first, and hands the rank to the engine. Ranks are finite and never negative,
because the engine's wire format is an unsigned number; they follow from views that keep the same rule (seconds since an
epoch, costs, service and virtual times are all >= 0). A policy has no clock and holds no calls.

`vtc` alone has a state of its own; the scheduler tells every policy the events it needs for that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, get_args

from gateway.fairness.cost import remaining_cost, token_cost
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.fairness.virtual_clock import UnknownApplication

PolicyName = Literal["justitia", "fcfs", "app-fcfs", "sjf", "vtc", "las", "srjf"]

POLICY_NAMES: Final[tuple[PolicyName, ...]] = get_args(PolicyName)


@dataclass(slots=True)
class ApplicationView:
    """What a policy may know of an application. Owned and kept up to date by the scheduler."""

    application_id: ApplicationId
    arrived_at: float
    """Seconds, on one clock for all applications."""
    weight: Weight
    virtual_finish_time: VirtualTime
    predicted_cost: KvTokenTime
    service: KvTokenTime
    """Attained so far."""


@dataclass(frozen=True, slots=True)
class CallView:
    """What a policy may know of a call."""

    arrived_at: float
    """Seconds, on the clock of `ApplicationView.arrived_at`."""
    predicted_cost: KvTokenTime


class Policy(ABC):
    """One order. Subclasses document themselves under five headings, the same for all."""

    name: ClassVar[PolicyName]
    ranks_follow_service: ClassVar[bool] = False
    """Ranks of calls that already wait or run change when service is charged, so they must be computed anew."""

    @abstractmethod
    def rank(self, application: ApplicationView, call: CallView) -> float:
        """Smaller is served first; finite and >= 0. The application has joined."""

    # The events a policy may keep a state with; most need none. Not abstract: doing nothing is an answer.

    def joined(self, application_id: ApplicationId, weight: Weight) -> None:  # noqa: B027
        """It went from no calls to some."""

    def charged(self, application_id: ApplicationId, input_tokens: Tokens, output_tokens: Tokens) -> None:  # noqa: B027
        """These tokens, not reported before, were processed for it."""

    def left(self, application_id: ApplicationId) -> None:  # noqa: B027
        """It has no calls any more."""

    def forget(self, application_id: ApplicationId) -> None:  # noqa: B027
        """It is closed."""


class Justitia(Policy):
    """What it does: serves applications in the order in which the fluid fair server (GPS) would finish them.

    Unit of fairness: the application, by weight, in KV token-time.
    Inputs: the virtual finish time F; through it the predicted cost and the weight.
    Configuration: none.
    Trade-offs: near shortest-first in mean completion time and near GPS for each application; only as good as the
    predictions: one that was guessed too small goes first until it has had that much (`cost.counted_cost`).
    """

    name = "justitia"

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return application.virtual_finish_time


class Fcfs(Policy):
    """What it does: serves calls in the order of their own arrival; an engine's default.

    Unit of fairness: none; whoever sends more calls gets more.
    Inputs: the call's arrival.
    Configuration: none.
    Trade-offs: nothing to predict and nothing starves; one application with many calls stands in everybody's way.
    """

    name = "fcfs"

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return call.arrived_at


class AppFcfs(Policy):
    """What it does: serves calls in the order of their application's arrival.

    Unit of fairness: none; the older application goes first.
    Inputs: the application's arrival.
    Configuration: none.
    Trade-offs: late stages of an application do not queue again; a large application still blocks all younger ones.
    """

    name = "app-fcfs"

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return application.arrived_at


class Sjf(Policy):
    """What it does: serves the call with the smallest predicted cost.

    Unit of fairness: none; short calls win.
    Inputs: the call's predicted cost.
    Configuration: none.
    Trade-offs: short calls answer fast; an application's last long call starves, and with it the whole application.
    """

    name = "sjf"

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return call.predicted_cost


class Las(Policy):
    """What it does: serves the application with the least attained service.

    Unit of fairness: the application, in KV token-time since it arrived; weights are not used.
    Inputs: service.
    Configuration: none.
    Trade-offs: needs no prediction and small applications pass quickly; large ones of like size share, and all of them
    finish late.
    """

    name = "las"
    ranks_follow_service = True

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return application.service


class Srjf(Policy):
    """What it does: serves the application with the least predicted cost remaining.

    Unit of fairness: none; with true costs it marks the limit of efficiency.
    Inputs: the predicted cost and service.
    Configuration: none.
    Trade-offs: the shortest mean completion time; large applications starve while small ones keep coming, and one that
    was guessed too small stays at rank 0.
    """

    name = "srjf"
    ranks_follow_service = True

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return remaining_cost(application.predicted_cost, application.service)


class Vtc(Policy):
    """What it does: serves the client with the smallest token counter (*Fairness in Serving Large Language Models*,
    OSDI'24).

    Unit of fairness: the client, which is the application here, by weight, in tokens: 1 × input + 2 × output.
    Inputs: tokens processed, and when an application comes and goes.
    Configuration: none.
    Trade-offs: needs no prediction and shares are even at all times, so of several large applications all finish late;
    tokens do not say how long memory is held.

    The lift: who comes back from having no calls gets no credit for its absence. Its counter is raised to the least of
    those present, or, with nobody present, to that of the last to leave. In the paper, present is who has calls in the
    queue; here, who has calls at all, because a dispatched call may still wait in the engine's own queue.
    """

    name = "vtc"
    ranks_follow_service = True

    def __init__(self) -> None:
        self._clients: dict[ApplicationId, _Client] = {}
        self._last_to_leave = _Client(counter=0.0)
        """Kept by value, not by id: it sets the level for the next to come, closed or not."""

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return self._client(application.application_id).counter

    def joined(self, application_id: ApplicationId, weight: Weight) -> None:
        client = self._clients.setdefault(application_id, _Client(counter=0.0))
        if not client.is_present:
            present = [other.counter for other in self._clients.values() if other.is_present]
            client.counter = max(client.counter, min(present, default=self._last_to_leave.counter))
        client.weight, client.is_present, client.is_closed = weight, True, False

    def charged(self, application_id: ApplicationId, input_tokens: Tokens, output_tokens: Tokens) -> None:
        """A late record of an application that is forgotten already changes nothing."""
        client = self._clients.get(application_id)
        if client is not None:
            client.counter += token_cost(input_tokens, output_tokens) * UNIT_WEIGHT / client.weight

    def left(self, application_id: ApplicationId) -> None:
        client = self._client(application_id)
        client.is_present = False
        self._last_to_leave = client
        if client.is_closed:
            del self._clients[application_id]

    def forget(self, application_id: ApplicationId) -> None:
        """At once, or, while it still has calls, when it has left."""
        client = self._clients.get(application_id)
        if client is not None and client.is_present:
            client.is_closed = True
        else:
            self._clients.pop(application_id, None)

    def _client(self, application_id: ApplicationId) -> "_Client":
        client = self._clients.get(application_id)
        if client is None:
            raise UnknownApplication(application_id)
        return client


@dataclass(slots=True)
class _Client:
    """VTC's account of one application, in weighted tokens per unit of weight."""

    counter: float
    weight: Weight = UNIT_WEIGHT
    is_present: bool = False
    is_closed: bool = False


_POLICIES: Final[dict[PolicyName, Callable[[], Policy]]] = {
    policy.name: policy for policy in (Justitia, Fcfs, AppFcfs, Sjf, Vtc, Las, Srjf)
}


def policy_named(name: PolicyName) -> Policy:
    """A new policy with no history. Raises ValueError for a name that is none of POLICY_NAMES."""
    make = _POLICIES.get(name)
    if make is None:
        raise ValueError(f"no policy is called {name!r}; there are {', '.join(POLICY_NAMES)}")
    return make()
