"""What holds for any bytes a client invents."""

import json
import re
import time
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.identity import Answer, AnswerReader, Identity, Inquiry, LinkKey, RequestFacts, identify
from gateway.identity.facts import RuleName
from gateway.identity.vendors import VENDORS

HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        ["", " ", "a", "demo", "acme/demo", "bolt/demo", "..", "../acme", "%2e%2e", "a\r\nX-Evil: 1", "\x00", "аcme"]
    ),
    st.sampled_from(["x" * 128, "x" * 129, "x" * 5000, "1", "true", "\ud800", "\xff", "K\u212a", "x-" + "0" * 32]),
)
CARRIERS = ["x-justitia-application", "x-justitia-parent", "x-justitia-final", "x-justitia-kind", "x-acme-session-id"]
CARRIERS += ["x-acme-parent-session-id", "x-request-id", "user", "authorization", "baggage", "traceparent", ""]
for vendor in VENDORS:
    CARRIERS += vendor.sessions + vendor.agents + vendor.parent_agents + vendor.parent_sessions + vendor.finals
HEADERS = st.lists(st.tuples(st.one_of(st.sampled_from(CARRIERS), st.text(max_size=20)), HOSTILE), max_size=8)
SEGMENT = st.one_of(st.sampled_from(["apps", "runs", "v1", "", "..", "%2f", "%"]), HOSTILE)
PATHS = st.one_of(
    st.text(),
    st.lists(SEGMENT, max_size=8).map("/".join),
    st.builds("/apps/{}/v1/{}".format, SEGMENT, SEGMENT),
    st.builds("/apps/{}/runs/{}/v1/{}".format, SEGMENT, SEGMENT, SEGMENT),
)
CALL_IDS = st.one_of(st.just("call-1"), st.text())


def by_acme(path: str, headers: list[tuple[str, str]], call_id: str = "call-1") -> Identity:
    return identify(RequestFacts(path, headers, call_id), "acme")


def assert_harmless(found: Identity) -> None:
    for name in (found.application_id, found.root, found.parent or found.root):
        assert len(name) <= 256
        assert re.fullmatch(r"acme/[A-Za-z0-9._~:@+-]{1,128}", name)
    assert found.application_id == f"acme/{found.application}"
    assert found.parent != found.application_id
    assert (found.parent is None) == (found.root == found.application_id)
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", found.kind)
    assert found.rule in get_args(RuleName)
    assert re.fullmatch(r"/([!-.0-~][!-~]*)?", found.upstream_path)


@given(PATHS, HEADERS, CALL_IDS)
@example("", [], "")
def test_every_identity_is_bounded_and_harmless(path: str, headers: list[tuple[str, str]], call_id: str) -> None:
    assert_harmless(by_acme(path, headers, call_id))


@given(PATHS, HEADERS, PATHS, HEADERS)
def test_two_tenants_never_meet(
    path: str, headers: list[tuple[str, str]], other_path: str, other_headers: list[tuple[str, str]]
) -> None:
    ours = by_acme(path, headers)
    theirs = identify(RequestFacts(other_path, other_headers, "call-1"), "bolt")
    assert not {ours.application_id, ours.root, ours.parent} & {theirs.application_id, theirs.root} - {None}


@given(PATHS, HEADERS)
def test_the_same_request_is_the_same_application(path: str, headers: list[tuple[str, str]]) -> None:
    assert by_acme(path, headers) == by_acme(path, list(headers))


@given(PATHS, HEADERS)
def test_names_of_headers_have_no_case(path: str, headers: list[tuple[str, str]]) -> None:
    ascii_headers = [(name, value) for name, value in headers if name.isascii()]
    shouted = [(name.upper(), value) for name, value in ascii_headers]
    assert by_acme(path, ascii_headers) == by_acme(path, shouted)


@given(PATHS, HEADERS)
def test_a_name_given_out_means_the_same_application_again(path: str, headers: list[tuple[str, str]]) -> None:
    found = by_acme(path, headers)
    assert by_acme("/v1/models", [("x-justitia-application", found.application)]).application_id == found.application_id


@given(PATHS, HEADERS, st.data())
def test_the_order_of_different_headers_means_nothing(
    path: str, headers: list[tuple[str, str]], data: st.DataObject
) -> None:
    distinct = list({name.lower(): (name, value) for name, value in headers}.values())
    shuffled = data.draw(st.permutations(distinct))
    assert by_acme(path, distinct) == by_acme(path, shuffled)


# --- bodies ---------------------------------------------------------------------------------------------------------

WORDS = [
    *("role", "content", "type", "text", "id", "name", "function", "tool_calls", "tool_call_id", "arguments", "input"),
    *("source", "data", "url", "image_url", "call_id", "output", "tool_use_id", "session_id", "user_id", "item"),
    *("user", "assistant", "system", "tool", "tool_use", "tool_result", "message", "function_call", "thinking"),
    *("function_call_output", "application_id", "input_text"),
]
SCALARS = st.one_of(
    HOSTILE,
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**4000),
    st.floats(),
    st.just('{"session_id": "s"}'),
    st.just("_session_s"),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
    max_leaves=24,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["messages", "input", "metadata", "previous_response_id", "conversation", "prompt_cache_key", "user", "prompt"]
    ),
    JSON,
    max_size=5,
)
NAMES = st.one_of(HOSTILE, st.sampled_from(["child", "run", "demo"]))


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"content": [value], "output": [value], "type": "tool_result"}
    return value


@given(HEADERS, FIELDS, JSON, st.lists(NAMES, min_size=1))
def test_no_body_no_answer_and_no_link_raises_or_escapes(
    headers: list[tuple[str, str]], fields: dict[str, Any], answer: Any, names: list[str]
) -> None:
    """`names`: what somebody else's links lead to."""
    inquiry = Inquiry(RequestFacts("/v1/responses", headers, "call-1", fields), "acme")
    assert len(inquiry.wanted) <= 10
    assert len(set(inquiry.wanted)) == len(inquiry.wanted)
    for known in ({}, {key: names[i % len(names)] for i, key in enumerate(inquiry.wanted)}):
        identity = inquiry.identity(known)
        assert_harmless(identity)
        links = inquiry.links(identity)
        reader = inquiry.answer_reader(identity)
        if reader is not None:
            reader.read_body(answer)
            links |= inquiry.answer_links(identity, reader.answer)
        assert set(links.values()) <= {identity.root.removeprefix("acme/")}
        assert {len(key) for key in links} <= {16}


def test_nothing_is_followed_into_depth() -> None:
    """Deeper than Python's own calls may go."""
    deep = nested(10_000)
    bodies = [{"messages": [{"role": "user", "content": [deep]}]}, {"input": [deep]}, {"conversation": deep}]
    for fields in bodies:
        inquiry = Inquiry(RequestFacts("/v1/responses", (), "call-1", fields), "acme")
        identity = inquiry.identity({})
        assert_harmless(identity)
        reader = inquiry.answer_reader(identity)
        assert reader is not None
        reader.read_body({"output": [deep], "content": [deep]})
    while deep != "x":  # freed level by level: all at once would go as deep
        deep = deep.pop("content")[0]


@given(HEADERS, FIELDS, HEADERS, FIELDS)
def test_no_link_leads_from_one_tenant_to_another(
    headers: list[tuple[str, str]], fields: dict[str, Any], other_headers: list[tuple[str, str]], other: dict[str, Any]
) -> None:
    """Nor would it if all tenants' links lay in one place."""
    noted: dict[LinkKey, str] = {}
    for each_headers, each in ((headers, fields), (other_headers, other), (headers, fields)):
        inquiry = Inquiry(RequestFacts("/v1/responses", each_headers, "call-1", each), "bolt")
        identity = inquiry.identity(noted)
        noted |= inquiry.links(identity)
        for message in ("assistant 1 0\na", "assistant 1 0\nb"):
            noted |= inquiry.answer_links(identity, Answer("resp_1", message))
    for each_headers, each in ((headers, fields), (other_headers, other)):
        assert not set(Inquiry(RequestFacts("/v1/responses", each_headers, "call-1", each), "acme").wanted) & set(noted)


@given(JSON)
@example({"choices": [{"delta": {"content": "x", "tool_calls": [{"index": 10**400, "id": "a"}]}}]})
def test_no_event_raises(event: Any) -> None:
    reader = AnswerReader(wants_message=True)
    for each in (event, {"type": event}, {"choices": [{"delta": event, "finish_reason": "stop"}]}):
        reader.feed_event(json.dumps(each).encode())
    assert reader.answer == Answer(None, reader.answer.message)


LONG = 3_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "assistant", "content": "a" * 10 * LONG}]},
        {"messages": [{"role": "assistant", "content": "</think" * LONG}]},
        {"messages": [{"role": "assistant", "content": "\ud800" * 1024}] * (LONG // 300)},
        {"messages": [{"role": "assistant", "content": "a"}] * LONG},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * LONG}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{}] * 3000}] * 3000}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "i" * 5000, "function": {"name": "n"}}] * LONG}]},
        {"input": [{"type": "function_call", "call_id": "c", "name": "n"}] * LONG},
    ],
)
def test_a_body_of_megabytes_takes_little_time(fields: dict[str, Any]) -> None:
    """Some 20 ms; under coverage and beside other tests many times that, and without a bound tens of seconds."""
    times = []
    for _ in range(3):
        start = time.process_time()
        identify(RequestFacts("/v1/chat/completions", (), "call-1", fields), "acme")
        times.append(time.process_time() - start)
    assert min(times) < 1
