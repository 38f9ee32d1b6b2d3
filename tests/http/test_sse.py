import re

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.sse import EventSplitter, event_data
from tests.http.chunks import cut, places

streams = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"data:", b"data: ", b"x", "é🙂".encode(), b":", b"event: a"]),
    max_size=40,
).map(b"".join)


def split(chunks: list[bytes], max_event_bytes: int = 1000) -> tuple[list[tuple[bytes, bool]], bytes]:
    splitter = EventSplitter(max_event_bytes)
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return pieces, splitter.end()


def events_by_the_book(data: bytes) -> list[list[bytes]]:
    """The standard's algorithm on the whole stream: lines, and an empty line ends what has come since the last."""
    events: list[list[bytes]] = [[]]
    for line in re.split(rb"\r\n|\n|\r", data)[:-1]:
        if line:
            events[-1].append(line)
        elif events[-1]:
            events.append([])
    return [event for event in events[:-1] if event]


@given(streams, places)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11])
@example(b"data: a\n\rdata: b\r\r", [9])
@example("data: é\n\n".encode(), [7])
def test_where_chunks_are_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    assert split(cut(data, cuts)) == split([data])


@given(streams, places)
def test_no_byte_is_lost_or_changed(data: bytes, cuts: list[int]) -> None:
    pieces, rest = split(cut(data, cuts))
    assert b"".join(piece for piece, _ in pieces) + rest == data


@given(streams)
def test_events_are_those_of_the_standard(data: bytes) -> None:
    if data.endswith(b"\r"):
        data += b"x"  # a CR at the end may be half of a line's end: it is waited for
    pieces, _ = split([data])
    found = [[line for line in re.split(rb"\r\n|\n|\r", piece) if line] for piece, _ in pieces]
    assert [event for event in found if event] == events_by_the_book(data)


@given(streams, places, st.integers(4, 20))
def test_long_events_pass_in_pieces(data: bytes, cuts: list[int], limit: int) -> None:
    chunks = cut(data, cuts)
    pieces, rest = split(chunks, limit)
    assert b"".join(piece for piece, _ in pieces) + rest == data
    assert len(rest) <= limit
    # What is called whole is whole.
    whole = {piece for piece, _ in split([data], 10**9)[0]}
    assert all(piece in whole for piece, is_event in pieces if is_event)


def test_data_is_what_the_standard_says() -> None:
    assert event_data(b"event: x\ndata: one\r\ndata:two\n\n") == b"one\ntwo"
    assert event_data(b": comment\n\n") == b""
