"""What is made of a reading, and what of it is told to whom."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.ports import EngineMode
from gateway.scheduling.model import ApplicationDescription, Hold
from gateway.scheduling.overview import (
    MAX_AHEAD,
    MAX_NAMED_ON_ENGINE,
    CallsOn,
    EngineSight,
    Foremost,
    Reading,
    TenantSight,
    View,
    Wanted,
    kv_used,
    make_overview,
    seen_by,
)
from tests.scheduling.builders import engine_state


def described(application_id: str, position: int, *, waiting: int = 0, running: int = 0) -> ApplicationDescription:
    return ApplicationDescription(
        application_id=ApplicationId(application_id),
        tenant=application_id.partition("/")[0],
        kind="kind",
        parent=None,
        weight=Weight(1000),
        predicted_cost=KvTokenTime(100.0),
        service=KvTokenTime(40.0),
        virtual_start=VirtualTime(0.0),
        virtual_finish_time=VirtualTime(100.0 * position),
        virtual_time=VirtualTime(50.0),
        position=position,
        ahead=(),
        calls_waiting=waiting,
        calls_running=running,
        expected_finish_s=None,
        expected_wait_s=None,
        num_calls=0,
        prompt_tokens=Tokens(0),
        completion_tokens=Tokens(0),
    )


def engine(name: str = "e1", calls: Mapping[str, CallsOn] | None = None) -> EngineSight:
    by_id = {ApplicationId(key): value for key, value in (calls or {}).items()}
    return EngineSight(name, EngineMode("patched", ("m",)), engine_state(), 10.0, by_id)


def reading(
    *descriptions: ApplicationDescription,
    foremost: Mapping[str, Foremost] | None = None,
    tenants: Mapping[str, TenantSight] | None = None,
    engines: tuple[EngineSight, ...] = (),
) -> Reading:
    return Reading(
        virtual_time=VirtualTime(50.0),
        num_backlogged=len(descriptions),
        descriptions=descriptions,
        is_cut=False,
        foremost={ApplicationId(key): value for key, value in (foremost or {}).items()},
        tenants={description.tenant: TenantSight() for description in descriptions} | dict(tenants or {}),
        engines=engines,
        service_rate=10.0,
        calls_waiting=0,
        calls_running=0,
        store_is_up=True,
    )


def seen(whole: Reading, tenant: str | None = None, **wanted: object) -> View:
    return seen_by(make_overview(whole), tenant, Wanted(**wanted))  # type: ignore[arg-type]


def ids(view: View) -> list[str]:
    return [row.application.application_id for row in view.rows]


def holds(whole: Reading) -> dict[str, Hold]:
    return {row.application.application_id: row.hold for row in make_overview(whole).rows}


# --- what holds ---


def test_the_first_waits_for_room_and_the_others_for_it() -> None:
    whole = reading(
        *(described(f"t/{name}", place, waiting=2) for place, name in enumerate("abc", 1)),
        foremost={"t/c": Foremost("m", 4, True), "t/a": Foremost("m", 0, True), "t/b": Foremost("m", 2, True)},
    )
    assert holds(whole) == {"t/a": Hold.CAPACITY, "t/b": Hold.ORDER, "t/c": Hold.ORDER}


def test_calls_that_a_cap_holds_back_are_in_nobodys_way() -> None:
    whole = reading(
        described("capped/a", 1, waiting=3),
        described("free/b", 2, waiting=1),
        described("free/c", 3, waiting=1),
        foremost={
            "capped/a": Foremost("m", 0, True),
            "free/b": Foremost("m", 3, True),
            "free/c": Foremost("m", 4, True),
        },
        tenants={"capped": TenantSight(False, 2, 2)},
    )
    assert holds(whole) == {"capped/a": Hold.TENANT_CAP, "free/b": Hold.CAPACITY, "free/c": Hold.ORDER}


def test_a_cap_of_one_model_is_no_way_through_another_models_queue() -> None:
    whole = reading(
        described("capped/a", 1, waiting=9),
        described("free/b", 2, waiting=1),
        foremost={"capped/a": Foremost("m", 0, True), "free/b": Foremost("other", 1, True)},
        tenants={"capped": TenantSight(False, 2, 2)},
    )
    assert holds(whole)["free/b"] is Hold.ORDER


def test_no_engine_comes_before_every_other_reason() -> None:
    whole = reading(
        described("t/a", 1, waiting=1),
        foremost={"t/a": Foremost("m", 7, False)},
        tenants={"t": TenantSight(False, 1, 1, 9.0)},
    )
    assert holds(whole) == {"t/a": Hold.NO_ENGINE}


def test_who_has_no_call_waiting_is_held_by_a_spent_quota_or_by_nothing() -> None:
    whole = reading(
        described("spent/a", 1, running=1),
        described("free/b", 2),
        tenants={"spent": TenantSight(quota_wait_s=3.0)},
    )
    assert holds(whole) == {"spent/a": Hold.QUOTA, "free/b": Hold.NOTHING}


# --- who sees what ---

TWO_TENANTS = reading(
    described("alice/a", 1, running=1),
    described("bob/secret", 2, waiting=1),
    described("alice/b", 3, waiting=2),
    described("bob/other", 4),
    foremost={"bob/secret": Foremost("m", 0, True), "alice/b": Foremost("m", 1, True)},
    engines=(
        engine("e1", {"alice/a": CallsOn(2, 1), "bob/secret": CallsOn(3, 0)}),
        engine("e2", {"bob/x": CallsOn(1, 1)}),
    ),
)


def test_a_tenant_sees_its_own_by_name_and_others_as_numbers() -> None:
    view = seen(TWO_TENANTS, "alice", chosen=ApplicationId("alice/b"))
    assert ids(view) == ["alice/a", "alice/b"]
    assert (view.num_own, view.num_matching, view.num_all) == (2, 2, 4)
    assert [row.application.position for row in view.rows] == [1, 3]
    assert [(on.named, on.num_other_calls) for on in view.engines] == [
        ((("alice/a", CallsOn(2, 1)),), 3),
        ((), 1),
    ]
    assert view.chosen is not None
    assert [one.application_id for one in view.chosen.ahead.nearest] == ["alice/a"]
    assert (view.chosen.ahead.num_all, view.chosen.ahead.num_others) == (2, 1)
    assert view.chosen.ahead.work == 120.0
    assert view.chosen.calls_ahead == 1
    assert "bob" not in str(view)


@pytest.mark.parametrize("chosen", ["bob/secret", "alice/none", "bob", None])
def test_anothers_application_is_chosen_as_little_as_one_that_is_not(chosen: str | None) -> None:
    assert seen(TWO_TENANTS, "alice", chosen=chosen).chosen is None


def test_a_tenants_name_that_begins_anothers_is_not_taken_for_it() -> None:
    whole = reading(described("al/a", 1), described("alice/b", 2), engines=(engine("e1", {"alice/b": CallsOn(1, 0)}),))
    view = seen(whole, "al")
    assert ids(view) == ["al/a"]
    assert view.engines[0].named == ()


def test_who_sees_everything() -> None:
    view = seen(TWO_TENANTS, chosen=ApplicationId("bob/other"))
    assert ids(view) == ["alice/a", "bob/secret", "alice/b", "bob/other"]
    assert [len(on.named) for on in view.engines] == [2, 1]
    assert [on.num_other_calls for on in view.engines] == [0, 0]
    assert view.engines[0].named[0][0] == "bob/secret"  # with most calls
    assert view.chosen is not None
    assert (view.chosen.ahead.num_others, len(view.chosen.ahead.nearest)) == (0, 3)
    assert view.chosen.calls_ahead is None
    assert view.rows[0].on == (("e1", CallsOn(2, 1)),)
    assert view.chosen.tenant == TenantSight()


# --- what is asked for ---


def test_a_text_is_looked_for_in_names_kinds_and_holds() -> None:
    special = replace(described("t/b", 2, waiting=1), kind="Airline")
    whole = reading(described("t/alpha", 1), special, foremost={"t/b": Foremost("m", 0, True)})
    assert ids(seen(whole, text="ALPHA")) == ["t/alpha"]
    assert ids(seen(whole, text="airl")) == ["t/b"]
    assert ids(seen(whole, text="capacity")) == ["t/b"]
    assert ids(seen(whole, text="t/")) == ["t/alpha", "t/b"]
    assert ids(seen(whole, text="nobody")) == []


def test_only_those_with_calls() -> None:
    whole = reading(described("t/a", 1), described("t/b", 2, waiting=1), described("t/c", 3, running=1))
    assert ids(seen(whole, with_calls=True)) == ["t/b", "t/c"]


def test_everything_is_bounded() -> None:
    names = [f"t/{number:03}" for number in range(150)]
    whole = reading(
        *(described(name, place) for place, name in enumerate(names, 1)),
        engines=(engine("e1", dict.fromkeys(names, CallsOn(1, 0))),),
    )
    view = seen(whole, limit=10, chosen=ApplicationId("t/149"))
    assert ids(view) == names[:10]
    assert view.num_matching == 150
    assert (len(view.engines[0].named), view.engines[0].num_other_calls) == (MAX_NAMED_ON_ENGINE, 100)
    assert view.chosen is not None  # beyond what is listed
    assert [one.application_id for one in view.chosen.ahead.nearest] == names[-1 - MAX_AHEAD : -1]
    assert view.chosen.ahead.num_all == 149


def test_memory_in_use_is_never_less_than_none() -> None:
    assert kv_used(engine_state(free=300, capacity=1000)) == 700
    assert kv_used(engine_state(free=1001, capacity=1000)) == 0
