from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.scheduling.lanes import COMMON
from gateway.scheduling.tenant_room import TenantRoom


def test_running_calls_up_to_the_cap_those_elsewhere_included() -> None:
    terms = {"t": TenantTerms(max_running_calls=2)}
    room = TenantRoom(lambda tenant: terms.get(tenant, NO_LIMITS))
    assert (room.lane_of("t"), room.lane_of("u")) == ("t", COMMON)
    assert room.has_room("t")
    for _ in range(3):
        room.came("t")
        room.came("u")
    room.sent("t")
    room.sent("u")
    assert room.has_room("t")
    assert dict(room.running_of_capped()) == {"t": 1}
    room.elsewhere = {"t": 1, "u": 100}
    assert not room.has_room("t")
    assert room.has_room("u")
    room.ended("t")
    assert room.has_room("t")
    terms["t"] = TenantTerms(max_running_calls=1)
    assert not room.has_room("t")


def test_waiting_calls_up_to_the_limit() -> None:
    room = TenantRoom(lambda tenant: TenantTerms(max_waiting_calls=1))
    for tenant in "tu":
        room.came(tenant)
    assert not room.has_too_many_waiting("t")
    room.came("t")
    assert room.has_too_many_waiting("t")
    assert not room.has_too_many_waiting("u")
    room.sent("t")
    assert not room.has_too_many_waiting("t")
    room.came("t")
    room.left("t")
    assert not room.has_too_many_waiting("t")


def test_who_has_no_calls_is_not_remembered() -> None:
    room = TenantRoom()
    for i in range(100):
        room.came(f"t{i}")
        if i % 2:
            room.sent(f"t{i}")
            room.ended(f"t{i}")
        else:
            room.left(f"t{i}")
    assert not room._calls
