"""What a call asks for, read from its body, and the body that the engine gets.

The client's own bytes are forwarded wherever possible: numbers, unknown fields, their order and their spelling are not
ours to change. Two things change them: fields that would steer the engine past our order are taken out, and a stream
that does not ask for its usage is made to (`usage` hides it again).
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.fairness.units import Tokens
from gateway.http.apis import Api
from gateway.http.prompts import NO_PROMPT, Prompt, read_prompt
from gateway.values import value

STEERING_FIELDS = frozenset(
    {"priority", "vllm_xargs", "session_id", "request_id", "kv_transfer_params", "ec_transfer_params"}
)
"""vLLM: order, extra arguments of plugins (ours is one), session affinity, the engine's own id of the call (which is
also that of a stored response, so a client could write over another's), and transfers of other servers' caches."""

MAX_BRACKETS = 500_000
"""Arrays and objects take twenty times as much memory as text: 30 MiB of `[],` would be 740 MiB, and take seconds to
read. Brackets in texts count too; a text with so many fits into no model."""
_UNCOUNTED_BYTES = 2**20

_ASK_FOR_USAGE = b',"stream_options":{"include_usage":true}}'


@value
class CallBody:
    payload: bytes
    """For the engine."""
    model: str
    is_stream: bool
    hides_usage: bool
    """The engine is asked for usage that the client did not ask for."""
    max_tokens: Tokens | None
    prompt_tokens: Tokens | None
    """Known only where the prompt comes as token ids."""
    prompt: Prompt
    """Empty where it was not wanted."""


def read_object(body: bytes) -> dict[str, Any]:
    """Raises InvalidRequest for what is no JSON object."""
    if len(body) > _UNCOUNTED_BYTES and body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise InvalidRequest(f"The body has more than {MAX_BRACKETS:,} opening brackets.")
    try:
        fields = _loads(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8: byte {error.start} is {body[error.start]:#04x}.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidRequest(f"The body is not JSON that can be read: {error}.") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {_json_type(fields)}.")
    return fields


def _loads(body: bytes) -> Any:
    """Fast where nothing is odd. What orjson refuses is judged by the standard library, whose words say where."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body.decode("utf-8"))


def read_call(body: bytes, fields: Mapping[str, Any], api: Api, *, wants_prompt: bool = True) -> CallBody:
    """`fields`: the body, read. Raises InvalidRequest for what no engine could take; the rest is the engine's to
    judge."""
    model = read_model(fields)
    is_stream = _optional(fields, "stream", bool, "true or false") or False
    options = _optional(fields, "stream_options", dict, "an object") if api.tells_usage_if_asked else None
    hides_usage = api.tells_usage_if_asked and is_stream and not (options and _asks_for_usage(options))
    return CallBody(
        payload=_payload(body, fields, hides_usage),
        model=model,
        is_stream=is_stream,
        hides_usage=hides_usage,
        max_tokens=_max_tokens(fields, api.length_limits),
        prompt_tokens=_prompt_tokens(fields.get("prompt", fields.get("input"))),
        prompt=read_prompt(fields) if wants_prompt else NO_PROMPT,
    )


def read_model(fields: Mapping[str, Any]) -> str:
    """Raises InvalidRequest where there is none."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "the name of a model, a string", model)
    return model


def _payload(body: bytes, fields: Mapping[str, Any], hides_usage: bool) -> bytes:
    steering = STEERING_FIELDS & fields.keys()
    if hides_usage and not steering and "stream_options" not in fields:
        # A JSON object with fields: its last byte that is not a space is its closing brace.
        return body.rstrip()[:-1] + _ASK_FOR_USAGE
    if not hides_usage and not steering:
        return body
    # Read anew: integers of more than 64 bits are floats in `fields`, and must leave as they came.
    kept = {name: value for name, value in json.loads(body).items() if name not in steering}
    if hides_usage:
        # Usage with every event comes with include_usage only, so the client does not get it either way.
        options = dict(fields.get("stream_options") or {}) | {"include_usage": True}
        options.pop("continuous_usage_stats", None)
        kept["stream_options"] = options
    return json.dumps(kept).encode()


def _asks_for_usage(options: Mapping[str, Any]) -> bool:
    return _optional(options, "include_usage", bool, "true or false", "stream_options.") or False


def _max_tokens(fields: Mapping[str, Any], names: tuple[str, ...]) -> Tokens | None:
    limits = []
    for name in names:
        limit = _optional(fields, name, int, "a whole number from 0 on")
        if limit is not None:
            if limit < 0:
                raise _wrong(name, "a whole number from 0 on", limit)
            limits.append(limit)
    return Tokens(limits[0]) if limits else None


def _prompt_tokens(prompt: object) -> Tokens | None:
    """Of a prompt in token ids: one list of them, or several."""
    if not isinstance(prompt, list) or not prompt:
        return None
    if isinstance(prompt[0], int):
        return Tokens(len(prompt))
    if all(isinstance(part, list) for part in prompt):
        return Tokens(sum(len(part) for part in prompt))
    return None


def _optional(fields: Mapping[str, Any], name: str, kind: type, wanted: str, prefix: str = "") -> Any:
    """The field's value, None if it is null or missing."""
    value = fields.get(name)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise _wrong(prefix + name, wanted, value)


def _wrong(param: str, wanted: str, value: object) -> InvalidRequest:
    got = "is missing" if value is None else f"is {_json_type(value)}"
    if isinstance(value, int) and not isinstance(value, bool):
        got = f"is {value:d}" if abs(value) < 10**18 else "is a very large number"
    if value == "":
        got = "is empty"
    return InvalidRequest(f"'{param}' must be {wanted}; it {got}.", param=param)


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
