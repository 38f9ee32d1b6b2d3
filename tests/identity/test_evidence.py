import pytest

from gateway.identity.evidence import Evidence, said
from gateway.identity.facts import RequestFacts


def evidence(*headers: tuple[str, str]) -> Evidence:
    return Evidence.of(RequestFacts("/v1/models", headers, "call-1"))


def test_header_names_have_no_case() -> None:
    assert evidence(("X-Thing", "A")).text_in(("x-thing",)) == "A"


def test_the_first_duplicate_that_is_not_empty_counts() -> None:
    assert evidence(("x-thing", ""), ("X-THING", "a"), ("x-thing", "b")).text_in(("x-thing",)) == "a"


def test_blanks_around_a_value_go_and_nothing_else_does() -> None:
    assert evidence(("x-thing", " \ta b\t ")).text_in(("x-thing",)) == "a b"
    assert evidence(("x-thing", "a\r\n")).text_in(("x-thing",)) == "a\r\n"
    assert evidence(("x-thing", "\xa0a")).text_in(("x-thing",)) == "\xa0a"


def test_the_first_carrier_that_says_something_counts() -> None:
    sent = evidence(("x-b", "b"), ("x-a", " "), ("x-c", "c"))
    assert sent.text_in(("x-a", "x-b", "x-c")) == "b"
    assert sent.text_in(("x-a", "x-d")) is None
    assert sent.text_in(()) is None


def test_names_are_made_safe() -> None:
    assert evidence(("x-a", "run 1")).name_in(("x-a",)) == "x-b945d8cb026e35c608337842110ea5e8"
    assert evidence(("x-a", "run-1")).name_in(("x-a",)) == "run-1"
    assert evidence(("x-a", "\t")).name_in(("x-a",)) is None


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "Yes", " yes\t"])
def test_true(value: str) -> None:
    assert evidence(("x-a", value)).is_true(("x-a",))


@pytest.mark.parametrize("value", ["0", "false", "no", "", " ", "on", "2", "truely", "true" * 1000, "1,1"])
def test_not_true(value: str) -> None:
    assert not evidence(("x-a", value)).is_true(("x-a",))


def test_not_true_when_not_sent() -> None:
    assert not evidence().is_true(("x-a",))
    assert not evidence(("x-a", "1")).is_true(())


def test_a_call_without_a_body_has_no_fields() -> None:
    assert evidence().fields == {}
    assert Evidence.of(RequestFacts("/v1/models", (), "call-1", {"model": "m"})).fields == {"model": "m"}


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (" a\t", "a"), ("a\n", "a\n")])
def test_a_field_that_says_something(value: object, text: str) -> None:
    assert said(value) == text


@pytest.mark.parametrize("value", [None, "", " \t", 1, 1.5, True, ["a"], {"id": "a"}])
def test_a_field_that_says_nothing(value: object) -> None:
    assert said(value) is None


def test_headers_may_come_by_name_already() -> None:
    by_name = Evidence.of(RequestFacts("/v1/models", {"x-thing": "A"}, "call-1"))
    assert by_name == evidence(("X-Thing", "A"))
