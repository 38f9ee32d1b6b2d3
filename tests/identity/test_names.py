import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.names import application_id, is_safe_tenant, joined_name, safe_name


@pytest.mark.parametrize("name", ["a", "run-17", "u@host:3.1+b~c_d", "x" * 128, "x-" + "0" * 32, "...a", "~"])
def test_a_short_printable_name_stands_for_itself(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "acme/run",
        "a b",
        "a\n",
        "\r\nX-Evil: 1",
        "a\x00",
        "a\x7f",
        "é",
        "аbc",  # a Cyrillic letter first
        "ａ",
        ".",
        "..",
        "....",
        "%2e",
        'a"b',
        "x" * 129,
        "\ud800",
    ],
)
def test_anything_else_becomes_a_digest(name: str) -> None:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    assert safe_name(name) == "x-" + digest[:32]


def test_look_alikes_stay_apart() -> None:
    names = ["\udcff", "\ud800", "abc", "аbc", "ab\u200bc", "abc ", "ABC", "ａbc", "abc\u0301"]
    assert len({safe_name(name) for name in names}) == len(names)


@given(st.text())
def test_safe_twice_is_safe_once(name: str) -> None:
    assert safe_name(safe_name(name)) == safe_name(name)


@given(st.text(), st.text())
def test_joined_names_are_safe_and_bounded(whole: str, part: str) -> None:
    joined = joined_name(safe_name(whole), safe_name(part))
    assert joined == safe_name(joined)
    assert len(joined) <= 128


def test_joining_two_long_names_gives_a_digest() -> None:
    assert joined_name("a" * 63, "b" * 64) == "a" * 63 + ":" + "b" * 64
    assert joined_name("a" * 64, "b" * 64).startswith("x-")
    assert joined_name("a" * 64, "b" * 64) != joined_name("a" * 64, "c" * 64)


@pytest.mark.parametrize(
    ("tenant", "is_safe"),
    [("acme", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("a/b", False), ("a\n", False), ("é", False)],
)
def test_tenant_names(tenant: str, is_safe: bool) -> None:
    assert is_safe_tenant(tenant) is is_safe


def test_an_application_id_fits_a_header() -> None:
    longest = application_id("t" * 64, "n" * 128)
    assert longest == "t" * 64 + "/" + "n" * 128
    assert len(longest) <= 256


@pytest.mark.parametrize("unit", ["a", "\n", "é", "a/"])
def test_megabytes_take_time_in_proportion(unit: str) -> None:
    """Sixteen times the length in far less than the 256 times of something quadratic."""

    def fastest_s(num_chars: int) -> float:
        value = unit * (num_chars // len(unit))
        times = []
        for _ in range(3):
            start = time.process_time()
            safe_name(value)
            times.append(time.process_time() - start)
        return min(times)

    assert fastest_s(4_800_000) < 80 * fastest_s(300_000) + 0.01
