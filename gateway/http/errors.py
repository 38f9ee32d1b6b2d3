"""Errors as HTTP answers, the framework's own included: all have the API's shape."""

import json
import math
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import AuthenticationFailed, GatewayError, InvalidRequest
from gateway.http.apis import ErrorShape
from gateway.http.headers import Headers

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class RouteNotFound(InvalidRequest):
    status = 404


class MethodNotAllowed(InvalidRequest):
    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not for this route: use {allowed}.")
        self.allowed = allowed


class UnexpectedError(GatewayError):
    """A fault of ours; what it was is in the log, not in the answer."""

    def __init__(self) -> None:
        super().__init__(f"The gateway failed: {HTTPStatus.INTERNAL_SERVER_ERROR.phrase}.")


def error_headers(error: GatewayError) -> Headers:
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if isinstance(error, AuthenticationFailed):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return headers


def error_body(error: GatewayError, shape: ErrorShape, request_id: str) -> dict[str, object]:
    """In the shape that clients of the API look for. Anthropic's has our code and param as well, which its clients
    pass over."""
    if shape == "openai":
        return dict(error.body())
    kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    detail = {"type": kind, "message": error.message, "code": error.code, "param": error.param}
    return {"type": "error", "error": detail, "request_id": request_id}


def error_event(error: GatewayError, shape: ErrorShape, request_id: str) -> bytes:
    """The same within a stream."""
    data = b"data: " + json.dumps(error_body(error, shape, request_id)).encode() + b"\n\n"
    return data if shape == "openai" else b"event: error\n" + data


def answer_gateway_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return JSONResponse(error.body(), error.status, headers)


def answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """404 and 405 of the router, and whatever else the framework raises."""
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            return answer_gateway_error(request, RouteNotFound(f"There is no route {request.url.path}."))
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return answer_gateway_error(request, MethodNotAllowed(request.method, allowed))
        case status:
            content = {
                "message": error.detail,
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request",
            }
            return JSONResponse({"error": content}, status, error.headers)


def answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong, and the field it is in."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":  # its place is an offset, not a field
        return answer_gateway_error(request, InvalidRequest(f"The body is not JSON: {first['ctx']['error']}."))
    if isinstance(first.get("input"), bytes):  # not even looked at
        return answer_gateway_error(request, InvalidRequest("The body must come with Content-Type: application/json."))
    invalid = InvalidRequest(f"{place or 'The body'}: {first['msg']}.", param=place or None)
    return answer_gateway_error(request, invalid)


def answer_unexpected(request: Request, _: Exception) -> JSONResponse:
    return answer_gateway_error(request, UnexpectedError())
