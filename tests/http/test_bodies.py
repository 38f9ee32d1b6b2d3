import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.http.apis import APIS
from gateway.http.bodies import STEERING_FIELDS, CallBody, read_object
from gateway.http.bodies import read_call as read_call_of


def read_call(body: bytes, path: str = "/v1/chat/completions") -> CallBody:
    return read_call_of(body, read_object(body), APIS[path])


def read(**fields: Any) -> Any:
    return json.loads(read_call(json.dumps({"model": "m"} | fields).encode()).payload)


# Spelling, order, unknown fields, large and long numbers: all the client's own.
ODD = b' {"temperature" : 1.0, "seed":12345678901234567890, "x":{"y":[1e400, "\\ud83d\\ude42"]}, "model":"m" }\n'


def test_a_body_passes_byte_for_byte() -> None:
    assert read_call(ODD).payload == ODD


def test_a_stream_is_made_to_tell_its_usage_and_nothing_else_changes() -> None:
    body = ODD.replace(b'"model"', b'"stream":true,"model"')
    call = read_call(body)
    assert call.hides_usage
    assert call.payload == body.rstrip()[:-1] + b',"stream_options":{"include_usage":true}}'
    json.loads(call.payload)


@pytest.mark.parametrize(
    ("options", "sent", "hides"),
    [
        ({"include_usage": True}, {"include_usage": True}, False),
        ({"include_usage": True, "continuous_usage_stats": True},) * 2 + (False,),
        ({"include_usage": False}, {"include_usage": True}, True),
        ({"include_usage": None}, {"include_usage": True}, True),
        ({}, {"include_usage": True}, True),
        (None, {"include_usage": True}, True),
        ({"other": 1}, {"other": 1, "include_usage": True}, True),
        ({"continuous_usage_stats": True}, {"include_usage": True}, True),
    ],
)
def test_stream_options(options: object, sent: object, hides: bool) -> None:
    body = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    assert json.loads(read_call(body).payload)["stream_options"] == sent
    assert read_call(body).hides_usage == hides


@pytest.mark.parametrize("stream", [False, None])
def test_what_is_no_stream_is_not_asked_for_usage(stream: object) -> None:
    body = json.dumps({"model": "m", "stream": stream}).encode()
    call = read_call(body)
    assert (call.payload, call.hides_usage) == (body, False)


@pytest.mark.parametrize("field", sorted(STEERING_FIELDS))
@pytest.mark.parametrize("stream", [True, False])
def test_fields_that_steer_the_engine_are_taken_out(field: str, stream: bool) -> None:
    sent = read(**{field: None, "stream": stream, "other": "\ud800"})
    assert field not in sent
    assert sent["other"] == "\ud800"


def test_a_field_sent_twice_is_taken_out_twice() -> None:
    assert b"priority" not in read_call(b'{"model":"m","priority":-1,"priority":-2}').payload


def test_a_steering_field_with_an_escaped_name_is_taken_out() -> None:
    assert json.loads(read_call(b'{"model":"m","prior\\u0069ty":-1}').payload) == {"model": "m"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b'{"model":"m",}', "not JSON"),
        (b'{"model":"m"}{}', "Extra data"),
        (b"\xff{}", "not UTF-8: byte 0 is 0xff"),
        ('{"model":"m"}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"seed":' + b"1" * 5000 + b"}", "not JSON that can be read"),
        (b"null", "must be a JSON object, not null"),
        (b"[]", "not an array"),
        (b'"x"', "not a string"),
        (b"true", "not a boolean"),
        (b"1.5", "not a number"),
    ],
)
def test_what_is_no_json_object(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        read_call(body)
    assert caught.value.param is None
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"model": ["m"]}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": -(10**400)}, "max_tokens"),
        ({"max_completion_tokens": {}}, "max_completion_tokens"),
    ],
)
def test_wrong_types_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{param}' must be") as caught:
        read(**fields)
    assert caught.value.param == param
    assert len(caught.value.message) < 300


def test_a_missing_model() -> None:
    with pytest.raises(InvalidRequest, match="it is missing"):
        read_call(b"{}")


def test_lengths() -> None:
    def lengths(**fields: Any) -> tuple[int | None, int | None]:
        call = read_call(json.dumps({"model": "m"} | fields).encode())
        return call.max_tokens, call.prompt_tokens

    assert lengths() == (None, None)
    assert lengths(max_tokens=5) == (5, None)
    assert lengths(max_tokens=5, max_completion_tokens=7) == (7, None)
    assert lengths(prompt="text") == (None, None)
    assert lengths(prompt=["text", "text"]) == (None, None)
    assert lengths(prompt=[1, 2, 3]) == (None, 3)
    assert lengths(prompt=[[1, 2], [3]]) == (None, 3)
    assert lengths(prompt=[]) == (None, None)
    assert lengths(prompt=[[1], "x"]) == (None, None)
