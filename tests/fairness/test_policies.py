"""One suite over all policies, then each one's own rule."""

from dataclasses import dataclass
from math import isfinite
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fairness import (
    POLICY_NAMES,
    UNIT_WEIGHT,
    ApplicationId,
    ApplicationView,
    CallView,
    KvTokenTime,
    Policy,
    PolicyName,
    Tokens,
    UnknownApplication,
    VirtualTime,
    Weight,
    policy_named,
)

A, B, C = ApplicationId("a"), ApplicationId("b"), ApplicationId("c")
HEADINGS = ["What it does:", "Unit of fairness:", "Inputs:", "Configuration:", "Trade-offs:"]

AMOUNTS = st.one_of(st.just(0.0), st.integers(0, 5).map(float), st.floats(0, 1e18))
COUNTS = st.integers(0, 100_000).map(Tokens)
WEIGHTS = st.one_of(st.just(1000), st.integers(1, 1_000_000_000)).map(Weight)
APPLICATIONS = st.builds(ApplicationView, st.sampled_from([A, B, C]), AMOUNTS, WEIGHTS, AMOUNTS, AMOUNTS, AMOUNTS)
CALLS = st.builds(CallView, AMOUNTS, AMOUNTS)


def application(name: ApplicationId = A, **fields: float) -> ApplicationView:
    values = {"arrived_at": 0.0, "virtual_finish_time": 0.0, "predicted_cost": 0.0, "service": 0.0} | fields
    return ApplicationView(
        name,
        values["arrived_at"],
        UNIT_WEIGHT,
        VirtualTime(values["virtual_finish_time"]),
        KvTokenTime(values["predicted_cost"]),
        KvTokenTime(values["service"]),
    )


def call(arrived_at: float = 0.0, predicted_cost: float = 0.0) -> CallView:
    return CallView(arrived_at, KvTokenTime(predicted_cost))


# --- conformance ------------------------------------------------------------------------------------------------------

every_policy = pytest.mark.parametrize("name", POLICY_NAMES)


def test_the_names_are_the_types() -> None:
    assert get_args(PolicyName) == POLICY_NAMES == ("justitia", "fcfs", "app-fcfs", "sjf", "vtc", "las", "srjf")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no policy is called 'lifo'; there are justitia, fcfs"):
        policy_named("lifo")


@every_policy
def test_it_is_found_by_its_own_name_and_made_anew(name: PolicyName) -> None:
    policy = policy_named(name)
    assert policy.name == name
    assert policy_named(name) is not policy


@every_policy
def test_it_is_documented_under_the_five_headings(name: PolicyName) -> None:
    text = type(policy_named(name)).__doc__ or ""
    places = [text.find(heading) for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)


@dataclass(frozen=True)
class Charge:
    name: ApplicationId
    input_tokens: Tokens
    output_tokens: Tokens


def with_history(name: PolicyName, charges: list[Charge]) -> Policy:
    policy = policy_named(name)
    for application_id in (A, B, C):
        policy.joined(application_id, UNIT_WEIGHT)
    for charge in charges:
        policy.charged(charge.name, charge.input_tokens, charge.output_tokens)
    return policy


HISTORIES = st.lists(st.builds(Charge, st.sampled_from([A, B, C]), COUNTS, COUNTS), max_size=8)


@every_policy
@settings(max_examples=40, deadline=None)
@given(view=APPLICATIONS, one=CALLS, charges=HISTORIES)
def test_ranks_are_finite_not_negative_and_deterministic(
    name: PolicyName, view: ApplicationView, one: CallView, charges: list[Charge]
) -> None:
    rank = with_history(name, charges).rank(view, one)
    assert isfinite(rank)
    assert rank >= 0
    again = with_history(name, charges)
    assert again.rank(view, one) == rank
    assert again.rank(view, one) == rank  # asking changes nothing


@every_policy
@settings(max_examples=40, deadline=None)
@given(view=APPLICATIONS, first=CALLS, later=st.floats(0, 1e6), charges=HISTORIES)
def test_of_two_equal_calls_the_earlier_is_never_behind(
    name: PolicyName, view: ApplicationView, first: CallView, later: float, charges: list[Charge]
) -> None:
    policy = with_history(name, charges)
    second = CallView(first.arrived_at + later, first.predicted_cost)
    assert policy.rank(view, first) <= policy.rank(view, second)


@every_policy
@settings(max_examples=40, deadline=None)
@given(view=APPLICATIONS, one=CALLS, service=AMOUNTS)
def test_ranks_do_not_move_with_service_unless_it_says_so(
    name: PolicyName, view: ApplicationView, one: CallView, service: float
) -> None:
    policy = with_history(name, [])
    before = policy.rank(view, one)
    view.service = KvTokenTime(view.service + service)
    policy.charged(view.application_id, Tokens(3), Tokens(4))
    if not policy.ranks_follow_service:
        assert policy.rank(view, one) == before


def test_the_policies_whose_ranks_follow_service() -> None:
    follow = [name for name in POLICY_NAMES if policy_named(name).ranks_follow_service]
    assert follow == ["vtc", "las", "srjf"]
    for name in follow:
        policy, view = with_history(name, []), application(predicted_cost=100.0)
        before = policy.rank(view, call())
        view.service = KvTokenTime(10.0)
        policy.charged(A, Tokens(10), Tokens(0))
        assert policy.rank(view, call()) != before


@every_policy
def test_every_event_is_taken_by_every_policy(name: PolicyName) -> None:
    policy = with_history(name, [Charge(A, Tokens(1), Tokens(1))])
    policy.left(A)
    policy.forget(A)
    policy.forget(A)
    policy.charged(A, Tokens(1), Tokens(1))  # a record that came late
    policy.joined(A, UNIT_WEIGHT)
    assert policy.rank(application(), call()) >= 0


# --- each by its own rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("justitia", 2.0), ("fcfs", 5.0), ("app-fcfs", 1.0), ("sjf", 6.0), ("las", 4.0), ("srjf", 26.0)],
)
def test_what_a_policy_looks_at(name: PolicyName, expected: float) -> None:
    view = application(arrived_at=1.0, virtual_finish_time=2.0, predicted_cost=30.0, service=4.0)
    assert policy_named(name).rank(view, call(5.0, 6.0)) == expected


def test_srjf_stays_at_zero_once_the_prediction_is_passed() -> None:
    assert policy_named("srjf").rank(application(predicted_cost=30.0, service=31.0), call()) == 0.0


# --- vtc --------------------------------------------------------------------------------------------------------------


def counters(policy: Policy, *names: ApplicationId) -> list[float]:
    return [policy.rank(application(name), call()) for name in names]


@pytest.fixture
def vtc() -> Policy:
    return policy_named("vtc")


def join_and_charge(policy: Policy, tokens: dict[ApplicationId, int]) -> None:
    for name in tokens:
        policy.joined(name, UNIT_WEIGHT)
    for name, count in tokens.items():
        policy.charged(name, Tokens(count), Tokens(0))


def test_vtc_counts_input_once_and_output_twice_by_weight(vtc: Policy) -> None:
    vtc.joined(A, UNIT_WEIGHT)
    vtc.joined(B, Weight(4000))
    for name in (A, B):
        vtc.charged(name, Tokens(100), Tokens(0))
        vtc.charged(name, Tokens(0), Tokens(30))
    assert counters(vtc, A, B) == [160.0, 40.0]


def test_vtc_lifts_a_newcomer_to_the_least_of_those_present(vtc: Policy) -> None:
    join_and_charge(vtc, {A: 100, B: 70})
    vtc.joined(C, UNIT_WEIGHT)
    assert counters(vtc, A, B, C) == [100.0, 70.0, 70.0]


def test_vtc_does_not_count_the_absent_when_it_lifts(vtc: Policy) -> None:
    join_and_charge(vtc, {A: 100, B: 70})
    vtc.left(B)
    vtc.joined(C, UNIT_WEIGHT)
    assert counters(vtc, B, C) == [70.0, 100.0]


def test_vtc_gives_no_credit_for_absence_and_takes_none_away(vtc: Policy) -> None:
    join_and_charge(vtc, {A: 50, B: 10})
    vtc.left(B)
    vtc.charged(A, Tokens(50), Tokens(0))
    vtc.joined(B, UNIT_WEIGHT)
    assert counters(vtc, A, B) == [100.0, 100.0]  # lifted from 10
    vtc.charged(A, Tokens(900), Tokens(0))
    vtc.left(A)
    vtc.joined(A, UNIT_WEIGHT)
    assert counters(vtc, A, B) == [1000.0, 100.0]  # above the least already: never lowered


def test_vtc_lifts_to_the_last_to_leave_when_nobody_is_present(vtc: Policy) -> None:
    join_and_charge(vtc, {A: 100, B: 30})
    vtc.left(A)
    vtc.left(B)
    vtc.charged(B, Tokens(5), Tokens(0))  # a record that came after it left
    vtc.joined(C, UNIT_WEIGHT)
    assert counters(vtc, C) == [35.0]


@pytest.mark.parametrize("forget_first", [False, True])
def test_vtc_keeps_the_level_of_the_last_to_leave_when_it_is_forgotten(vtc: Policy, forget_first: bool) -> None:
    vtc.joined(A, UNIT_WEIGHT)
    vtc.charged(A, Tokens(100), Tokens(0))
    for event in (vtc.forget, vtc.left) if forget_first else (vtc.left, vtc.forget):
        event(A)
    with pytest.raises(UnknownApplication):
        counters(vtc, A)
    vtc.joined(A, UNIT_WEIGHT)
    assert counters(vtc, A) == [100.0]


def test_vtc_keeps_a_closed_application_while_it_has_calls(vtc: Policy) -> None:
    vtc.joined(A, UNIT_WEIGHT)
    vtc.forget(A)
    vtc.charged(A, Tokens(8), Tokens(0))
    assert counters(vtc, A) == [8.0]


def test_vtc_keeps_a_reopened_application_when_it_leaves(vtc: Policy) -> None:
    vtc.joined(A, UNIT_WEIGHT)
    vtc.charged(A, Tokens(8), Tokens(0))
    vtc.forget(A)
    vtc.joined(A, Weight(2000))  # the id is used again while its last call runs
    vtc.charged(A, Tokens(8), Tokens(0))
    vtc.left(A)
    assert counters(vtc, A) == [12.0]


def test_vtc_asks_to_be_told_who_joined(vtc: Policy) -> None:
    for event in (lambda: counters(vtc, A), lambda: vtc.left(A)):
        with pytest.raises(UnknownApplication):
            event()


def test_vtc_keeps_nothing_of_the_closed(vtc: Policy) -> None:
    for number in range(100):
        name = ApplicationId(f"app-{number}")
        vtc.joined(name, UNIT_WEIGHT)
        vtc.charged(name, Tokens(number), Tokens(0))
        if number % 2:
            vtc.forget(name)
            vtc.left(name)
        else:
            vtc.left(name)
            vtc.forget(name)
    assert not vtc._clients
