"""What we write, as OpenTelemetry's own classes read it."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.tracing.wire import attribute, text_attribute

_ATTRIBUTES = 9


def read(encoded: bytes) -> KeyValue:
    [found] = Span.FromString(encoded).attributes
    return found


@pytest.mark.parametrize("text", ["", "x", "é" * 31, "é" * 32, "é" * 33, "x" * 64, "x" * 65, "x" * 127, "x" * 20_000])
def test_a_text_of_any_length_is_the_same_by_either_way(text: str) -> None:
    written = text_attribute(_ATTRIBUTES, "some.name")(text)
    assert written == attribute(_ATTRIBUTES, "some.name", text)
    assert (read(written).key, read(written).value.string_value) == ("some.name", text)


def test_half_a_character_is_a_question_mark() -> None:
    for written in (text_attribute(_ATTRIBUTES, "n")("a\ud800b"), attribute(_ATTRIBUTES, "n", "a\ud800b")):
        assert read(written).value.string_value == "a?b"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2047, 2048, 2**40, -1])
def test_whole_numbers(value: int) -> None:
    assert read(attribute(_ATTRIBUTES, "n", value)).value.int_value == value


def test_other_numbers() -> None:
    assert read(attribute(_ATTRIBUTES, "n", 0.1)).value.double_value == 0.1
    assert read(attribute(_ATTRIBUTES, "n", True)).value.bool_value is True
