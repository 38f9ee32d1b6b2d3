import pytest

from gateway.http.headers import request_id, to_client, to_engine

KEPT = [
    (b"content-type", b"application/json"),
    (b"user-agent", b"x"),
    (b"traceparent", b"00-1-2-03"),
    (b"cookie", b"a=b"),
]


FROM_THE_CONNECTION = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"]
FROM_THE_CONNECTION += ["Upgrade", "Proxy-Authorization", "Expect", "Accept-Encoding"]
KEYS = ["Authorization", "X-API-Key"]
STEERING = ["X-Vllm-Priority", "X-Session-ID", "X-Request-Id", "X-Data-Parallel-Rank", "X-Justitia-Application"]


@pytest.mark.parametrize("name", FROM_THE_CONNECTION + KEYS + STEERING)
def test_what_does_not_reach_the_engine(name: str) -> None:
    assert to_engine([*KEPT, (name.lower().encode(), b"value")]) == tuple(KEPT)


def test_what_connection_names_is_hop_by_hop() -> None:
    headers = [
        (b"connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"connection", b"x-other"),
        (b"x-other", b"2"),
    ]
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
    headers = {} if sent is None else {"x-request-id": sent}
    assert request_id(headers, "call-1") == answered


@pytest.mark.parametrize(
    "header",
    [
        "priority",
        "Priority",
        "x-vllm-priority",
        "X-Vllm-Anything",
        "X-Data-Parallel-Rank",
        "x-session-id",
        "X-Justitia-Application",
        "x-justitia-kind",
        "x-request-id",
        "x-dynamo-session-final",
        "x-llm-d-inference-fairness-id",
        "x-gateway-inference-objective",
    ],
)
def test_what_would_steer_an_engine_stays_here(header: str) -> None:
    assert to_engine([(header.lower().encode(), b"x")]) == ()


@pytest.mark.parametrize(
    "header",
    [
        "content-type",
        "accept",
        "traceparent",
        "baggage",
        "user-agent",
        "anthropic-version",
        "x-priority-mail",
        "x-claude-code-session-id",
        "x-justitia",
    ],
)
def test_the_rest_may_pass(header: str) -> None:
    assert to_engine([(header.encode(), b"x")]) == ((header.encode(), b"x"),)
