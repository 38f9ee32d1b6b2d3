import inspect
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.links import KEY_BYTES, LinkKey, Links, link_key


def key(number: int) -> LinkKey:
    return LinkKey(number.to_bytes(KEY_BYTES, "big"))


def known(links: Links, tenant: str, numbers: range) -> list[int]:
    return [number for number in numbers if links.find(tenant, [key(number)])]


def test_a_key_is_a_short_digest_of_kind_tenant_and_value() -> None:
    keys = {link_key(kind, tenant, "v") for kind in ("response", "trace", "family") for tenant in ("acme", "bolt")}
    assert len(keys) == 6
    assert {len(each) for each in keys} == {KEY_BYTES}
    assert link_key("trace", "acme", "v") == link_key("trace", "acme", "v") != link_key("trace", "acme", "w")
    assert link_key("trace", "acme", "\ud800") != link_key("trace", "acme", "\udcff")


def test_what_is_noted_is_found_by_its_own_tenant_alone() -> None:
    links = Links()
    links.note("acme", {key(1): "run-1", key(2): "run-2"})
    assert links.find("acme", [key(2)]) == {key(2): "run-2"}
    assert links.find("acme", [key(3)]) == links.find("bolt", [key(1)]) == links.find("acme", []) == {}


def test_the_first_that_is_known_is_enough() -> None:
    links = Links()
    links.note("acme", {key(1): "run-1", key(2): "run-2"})
    assert links.find("acme", [key(9), key(2), key(1)]) == {key(2): "run-2"}


def test_the_later_name_stands() -> None:
    links = Links()
    links.note("acme", {key(1): "run-1"})
    links.note("acme", {key(1): "run-2"})
    assert links.find("acme", [key(1)]) == {key(1): "run-2"}
    assert len(links) == 1


def test_the_oldest_goes_first_and_use_keeps_a_link_young() -> None:
    links = Links(max_links=3)
    for number in range(3):
        links.note("acme", {key(number): "a"})
    links.find("acme", [key(0)])
    links.note("acme", {key(1): "a"})
    links.note("acme", {key(3): "a"})
    assert known(links, "acme", range(4)) == [0, 1, 3]
    assert len(links) == 3


def test_one_tenant_cannot_push_out_the_others() -> None:
    links = Links(max_links=100)
    for number in range(20):
        links.note("bolt", {key(number): "b"})
    for number in range(10_000):
        links.note("acme", {key(number): "a"})
    assert known(links, "bolt", range(20)) == list(range(20))
    assert len(known(links, "acme", range(10_000))) == 80


def test_a_newcomer_gets_its_fair_part_from_the_largest() -> None:
    links = Links(max_links=90)
    for tenant in ("acme", "bolt", "cord"):
        for number in range(200):
            links.note(tenant, {key(number): tenant})
    assert [len(known(links, tenant, range(200))) for tenant in ("acme", "bolt", "cord")] == [30, 30, 30]


def test_among_equals_who_notes_gives_way() -> None:
    links = Links(max_links=4)
    for tenant in ("acme", "bolt"):
        links.note(tenant, {key(0): tenant, key(1): tenant})
    for number in range(2, 50):
        links.note("bolt", {key(number): "bolt"})
    assert known(links, "acme", range(50)) == [0, 1]
    assert known(links, "bolt", range(50)) == [48, 49]


def test_room_for_one() -> None:
    links = Links(max_links=1)
    links.note("acme", {key(1): "a"})
    links.note("bolt", {key(2): "b"})
    assert (links.find("acme", [key(1)]), links.find("bolt", [key(2)]), len(links)) == ({}, {key(2): "b"}, 1)
    with pytest.raises(ValueError, match="max_links = 0"):
        Links(max_links=0)


@given(st.integers(1, 8), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), max_size=60))
def test_who_holds_no_more_than_a_fair_part_loses_nothing(max_links: int, notes: list[tuple[str, int]]) -> None:
    links = Links(max_links)
    for tenant, number in notes:
        held = {name: known(links, name, range(13)) for name in "abcd"}
        num_tenants = len({name for name in held if held[name]} | {tenant})
        links.note(tenant, {key(number): tenant})
        assert number in known(links, tenant, range(13))
        for other in set("abcd") - {tenant}:
            if len(held[other]) <= max_links / num_tenants:
                assert known(links, other, range(13)) == held[other]
        assert len(links) == sum(len(known(links, name, range(13))) for name in "abcd") <= max_links


def test_what_a_link_takes_is_what_is_said() -> None:
    tracemalloc.start()
    try:
        links = Links(max_links=4_000)
        for number in range(8_000):
            links.note("acme", {key(number): f"call-{number:032x}"})
        usual = traced_bytes() / 4_000
        for number in range(8_000, 16_000):
            links.note("acme", {key(number): f"{number:0128x}"})
        most = traced_bytes() / 4_000
    finally:
        tracemalloc.stop()
    assert 150 < usual < 350
    assert most < 512


def traced_bytes() -> int:
    """What was allocated by the links and by this file, and still is: not what threads of other tests allocate."""
    ours = [tracemalloc.Filter(True, file) for file in (inspect.getfile(Links), __file__)]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
