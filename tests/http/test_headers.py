import pytest

from gateway.http.headers import request_id, to_client, to_engine

KEPT = [("content-type", "application/json"), ("user-agent", "x"), ("traceparent", "00-1-2-03"), ("cookie", "a=b")]


FROM_THE_CONNECTION = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"]
FROM_THE_CONNECTION += ["Upgrade", "Proxy-Authorization", "Expect", "Accept-Encoding"]
KEYS = ["Authorization", "X-API-Key"]
STEERING = ["X-Vllm-Priority", "X-Session-ID", "X-Request-Id", "X-Data-Parallel-Rank", "X-Justitia-Application"]


@pytest.mark.parametrize("name", FROM_THE_CONNECTION + KEYS + STEERING)
def test_what_does_not_reach_the_engine(name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        assert to_engine([*KEPT, (spelling, "value")]) == tuple(KEPT)


def test_what_connection_names_is_hop_by_hop() -> None:
    headers = [("connection", "close, X-Private"), ("x-private", "1"), ("Connection", "x-other"), ("X-Other", "2")]
    assert to_engine([*headers, *KEPT]) == tuple(KEPT)


def test_what_does_not_reach_the_client() -> None:
    own = [(b"Content-Type", b"a"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-other", b"\xe9")]
    dropped = [(b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"), (b"Date", b"x"), (b"server", b"uvicorn")]
    dropped += [(b"X-Request-Id", b"engine's"), (b"X-Justitia-Tenant", b"forged")]
    assert to_client(own + dropped) == own


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (None, "call-1"),
        ("", "call-1"),
        ("req-1/2", "req-1/2"),
        ("a b\tc\x7f\xe9<script>", "abcscript"),
        ("\xff\xfe", "call-1"),
        ("x" * 10_000, "x" * 128),
    ],
)
def test_request_ids(sent: str | None, answered: str) -> None:
    headers = [] if sent is None else [("X-Request-ID", sent)]
    assert request_id(headers, "call-1") == answered
