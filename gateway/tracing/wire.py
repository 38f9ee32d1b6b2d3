"""Protocol buffers, as far as OTLP's traces need them: fields of a number, texts, and attributes.

Numbers of fields are those of opentelemetry-proto (trace.proto, common.proto, resource.proto), which are stable.
"""

import struct
from collections.abc import Callable, Mapping

_DOUBLE = struct.Struct("<d").pack
_FIXED32 = struct.Struct("<I").pack
_FIXED64 = struct.Struct("<Q").pack

_MAX_SHORT = 64

Held = str | int | float | bool


def _varint(number: int) -> bytes:
    held = bytearray()
    while number > 127:
        held.append(number & 127 | 128)
        number >>= 7
    held.append(number)
    return bytes(held)


_VARINTS = [_varint(number) for number in range(2048)]
"""Keys of fields, and the lengths of nearly all that is sent."""


def varint(number: int) -> bytes:
    """`number` from 0 on."""
    return _VARINTS[number] if number < 2048 else _varint(number)


def delimited(field: int, payload: bytes) -> bytes:
    """A text, bytes or a message."""
    return _VARINTS[field << 3 | 2] + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    """An enum or an integer; one below 0 is as 64 bits are."""
    return varint(field << 3) + varint(value & (2**64 - 1))


def fixed64(field: int, value: int) -> bytes:
    return _VARINTS[field << 3 | 1] + _FIXED64(value)


def fixed32(field: int, value: int) -> bytes:
    return varint(field << 3 | 5) + _FIXED32(value)


def attribute(field: int, name: str, value: Held) -> bytes:
    """A KeyValue, as the repeated field of this number."""
    return delimited(field, delimited(1, name.encode()) + delimited(2, _any(value)))


def attributes(field: int, held: Mapping[str, Held | None]) -> bytes:
    """All that are not None."""
    return b"".join([attribute(field, name, value) for name, value in held.items() if value is not None])


def text_attribute(field: int, name: str) -> Callable[[str], bytes]:
    """What writes this attribute: what stands before a text depends on its length alone."""
    before = [attribute(field, name, "x" * length)[: -length or None] for length in range(_MAX_SHORT + 1)]

    def written(text: str) -> bytes:
        encoded = text.encode("utf-8", "replace")
        length = len(encoded)
        return before[length] + encoded if length <= _MAX_SHORT else attribute(field, name, text)

    return written


def _any(value: Held) -> bytes:
    if isinstance(value, bool):
        return number(2, value)
    if isinstance(value, int):
        return number(3, value)
    if isinstance(value, float):
        return _VARINTS[4 << 3 | 1] + _DOUBLE(value)
    return delimited(1, value.encode("utf-8", "replace"))
