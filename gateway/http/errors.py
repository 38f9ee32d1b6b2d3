"""Errors as HTTP answers, the framework's own included: all have the API's shape."""

import math
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import AuthenticationFailed, GatewayError, InvalidRequest
from gateway.http.headers import Headers


class RouteNotFound(InvalidRequest):
    status = 404


class MethodNotAllowed(InvalidRequest):
    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not for this route: use {allowed}.")
        self.allowed = allowed


def error_headers(error: GatewayError) -> Headers:
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if isinstance(error, AuthenticationFailed):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return headers


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
    """A fault of ours; what it was is in the log, not in the answer."""
    error = GatewayError(f"The gateway failed: {HTTPStatus.INTERNAL_SERVER_ERROR.phrase}.")
    return answer_gateway_error(request, error)
