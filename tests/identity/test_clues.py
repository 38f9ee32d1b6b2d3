"""Rules 4 and 5, carrier by carrier."""

import json
from typing import Any

import pytest

from gateway.identity.clues import Clue, body_clue, conversation_in, trace_clue
from gateway.identity.evidence import Evidence
from gateway.identity.facts import RequestFacts
from gateway.identity.links import link_key
from gateway.identity.names import safe_name

SESSION = "0f6c2d1e-5a77-4c0b-9d53-2f1f0c0d9a11"
ACCOUNT = "7b1e4a90-1c2d-4e3f-8a9b-0c1d2e3f4a5b"
CLAUDE_CODE = f"user_{'ab' * 32}_account_{ACCOUNT}_session_{SESSION}"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def in_body(**fields: Any) -> Clue | None:
    return body_clue(fields, "acme")


def in_headers(*headers: tuple[str, str]) -> Clue | None:
    return trace_clue(Evidence.of(RequestFacts("/v1/messages", headers, "call-1")), "acme")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"metadata": {"application_id": "run-1"}}, "run-1"),
        ({"metadata": {"application_id": " a b "}}, safe_name("a b")),
        ({"metadata": {"user_id": CLAUDE_CODE}}, SESSION),
        ({"metadata": {"user_id": f"user_ab_account__session_{SESSION}"}}, SESSION),
        ({"metadata": {"user_id": f"_session_{SESSION}"}}, SESSION),
        ({"metadata": {"user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION})}}, SESSION),
        ({"prompt_cache_key": "key-1"}, "key-1"),
    ],
)
def test_a_name_in_the_body(fields: dict[str, Any], name: str) -> None:
    assert in_body(**fields) == Clue("body", name=name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": "u-12345678", "safety_identifier": "s-12345678"},
        {"metadata": {"user_id": "u-12345678"}},
        {"metadata": {"user_id": "user_ab_account_cd_session_"}},
        {"metadata": {"user_id": "{"}},
        {"metadata": {"user_id": '{"session_id": 1}'}},
        {"metadata": {"user_id": '{"session_id": ""}'}},
        {"metadata": {"user_id": '{"user_session_id": "a"}'}},
        {"metadata": {"user_id": '{"a":' * 700 + "1"}},
        {"metadata": {"user_id": json.dumps({"session_id": SESSION, "more": "x" * 4096})}},
        {"metadata": {"user_id": {"session_id": SESSION}}},
        {"metadata": {"application_id": 17, "session_id": SESSION}},
        {"metadata": [CLAUDE_CODE]},
        {"metadata": None, "previous_response_id": None, "conversation": None, "prompt_cache_key": None},
        {"previous_response_id": "", "conversation": {"id": ""}, "prompt_cache_key": " "},
        {"previous_response_id": 1, "conversation": {"name": "c"}, "prompt_cache_key": {}},
        {"conversation": ["c"]},
    ],
)
def test_a_body_that_names_a_person_or_nothing(fields: dict[str, Any]) -> None:
    assert in_body(**fields) is None


def test_a_chain_of_responses_leads_to_its_beginning_or_stands_for_itself() -> None:
    expected = Clue("body", link_key("response", "acme", "resp_1"), "resp_1")
    assert in_body(previous_response_id="resp_1") == expected
    assert body_clue({"previous_response_id": "resp_1"}, "bolt") != expected


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}, {"id": " conv_1", "more": 1}])
def test_a_conversation_leads_to_its_beginning_or_stands_for_itself(conversation: object) -> None:
    assert conversation_in({"conversation": conversation}) == "conv_1"
    assert in_body(conversation=conversation) == Clue("body", link_key("conversation", "acme", "conv_1"), "conv_1")


def test_an_applications_own_name_comes_before_what_hints_at_one() -> None:
    fields = {
        "metadata": {"application_id": "run-1", "user_id": CLAUDE_CODE},
        "previous_response_id": "resp_1",
        "conversation": "conv_1",
        "prompt_cache_key": "key-1",
    }
    found = []
    while (clue := in_body(**fields)) is not None:
        found.append(clue.name)
        match clue.name:
            case "run-1":
                fields["metadata"] = {"user_id": CLAUDE_CODE}
            case "resp_1":
                del fields["previous_response_id"]
            case "conv_1":
                del fields["conversation"]
            case "key-1":
                del fields["prompt_cache_key"]
            case _:
                del fields["metadata"]
    assert found == ["run-1", "resp_1", "conv_1", SESSION, "key-1"]


@pytest.mark.parametrize(
    ("baggage", "name"),
    [
        ("session.id=s-1", "s-1"),
        ("gen_ai.conversation.id=c-1", "c-1"),
        ("gen_ai.conversation.id=c-1,session.id=s-1", "s-1"),
        ("user.id=u , session.id = s-1 ;prop=1;other , a=b", "s-1"),
        ("session.id=a%20b%2Fc", safe_name("a b/c")),
        ("session.id=%FF", safe_name("\udcff")),
        ("session.id=a%2", safe_name("a%2")),
        ("session.id=a=b", safe_name("a=b")),
        ("session.id=,gen_ai.conversation.id=c-1", "c-1"),
        ("session.id=s-1,session.id=s-2", "s-1"),
        (",".join([f"k{i}=v" for i in range(63)] + ["session.id=s-1"]), "s-1"),
        ("session.id=" + "a" * 8000, safe_name("a" * 8000)),
    ],
)
def test_a_session_in_the_baggage_is_an_application_at_once(baggage: str, name: str) -> None:
    assert in_headers(("Baggage", baggage), ("traceparent", TRACEPARENT)) == Clue("trace", name=name)


@pytest.mark.parametrize(
    "baggage",
    [
        "",
        "session.id",
        "session.id=",
        "session.id=%20",
        "Session.Id=s-1",
        "session.id.more=s-1",
        "user.id=u-1",
        "a=b;session.id=s-1",
        ",".join([f"k{i}=v" for i in range(64)] + ["session.id=s-1"]),
        "session.id=" + "a" * 8192,
        "," * 8192,
    ],
)
def test_baggage_without_a_session(baggage: str) -> None:
    assert in_headers(("baggage", baggage)) is None


@pytest.mark.parametrize("header", [TRACEPARENT, f"cc-{TRACE}-00f067aa0ba902b7-01-more", f"01-{TRACE}-{'1' * 16}-00"])
def test_a_trace_is_one_to_look_for(header: str) -> None:
    assert in_headers(("Traceparent", header)) == Clue("trace", link_key("trace", "acme", TRACE))


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"{TRACEPARENT}-more",
        f"{TRACEPARENT}1",
        f"{TRACEPARENT}\n",
        f"00-{TRACE[:-1]}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"cc-{TRACE}-00f067aa0ba902b7-01-more\n",
        "0" * 5_000_000,
    ],
)
def test_what_is_no_trace(header: str) -> None:
    assert in_headers(("traceparent", header)) is None
