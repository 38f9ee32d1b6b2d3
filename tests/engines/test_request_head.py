import httptools
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.engines.request_head import request_head
from gateway.errors import InvalidRequest

names = st.one_of(st.sampled_from([b"accept", b"x-a", b"content-length", b"te"]), st.binary(max_size=12))
values = st.one_of(st.sampled_from([b"a", b"a b", b"1"]), st.binary(max_size=12))
headers = st.lists(st.tuples(names, values), max_size=5)


class Reader:
    """What the other side makes of it."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.num_requests = 0
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        self.method = self._parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.num_requests += 1


@given(st.sampled_from(["GET", "POST"]), st.sampled_from([b"/v1/x?y=1", b"/"]), headers, st.integers(0, 40))
@example("POST", b"/", [(b"x", b"a\r\ncontent-length: 0")], 3)
@example("POST", b"/", [(b"x", b"a\r"), (b"y", b"b")], 3)
def test_a_head_is_refused_or_read_as_it_was_meant(
    method: str, target: bytes, given_headers: list[tuple[bytes, bytes]], body_bytes: int
) -> None:
    try:
        head = request_head(method, target, b"engine:80", given_headers, body_bytes)
    except InvalidRequest:
        return
    try:
        read = Reader(head + b"x" * body_bytes)
    except httptools.HttpParserError:
        return  # a control character in a value: stricter than we are, and not another request

    length = [] if method == "GET" and not body_bytes else [(b"content-length", b"%d" % body_bytes)]
    meant = [(b"host", b"engine:80"), *given_headers, *length]
    assert read.headers == [(name, value.strip(b" \t")) for name, value in meant]
    assert (read.method, read.url, read.num_requests) == (method.encode(), target, 1)
