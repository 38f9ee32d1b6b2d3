"""What can go wrong, each with the HTTP status, type and code that a client sees.

GatewayError
├── InvalidRequest            400 invalid_request
│   ├── CostExceedsCapacity   400 cost_exceeds_capacity
│   └── PayloadTooLarge       413 payload_too_large
├── AuthenticationFailed      401 authentication_failed
├── ModelNotFound             404 model_not_found
├── ApplicationNotFound       404 application_not_found
├── ApplicationClosed         409 application_closed
├── Rejected                  never queued
│   ├── QueueFull             429 queue_full          Retry-After
│   ├── QuotaExceeded         429 quota_exceeded      Retry-After
│   └── ShuttingDown          503 shutting_down       Retry-After
├── Evicted                   left the queue undispatched
│   └── QueueTimeout          503 queue_timeout       Retry-After
├── EngineError
│   ├── EngineUnreachable     502 engine_unreachable
│   │   └── RequestUnsent     the same, and safe to send again
│   └── EngineTimeout         504 engine_timeout
├── StoreUnavailable          503 store_unavailable
└── ClientDisconnected        499, never sent: nobody is there to read it
"""

from typing import ClassVar


class GatewayError(Exception):
    """Base of all; `retry_after_s` becomes the Retry-After header, `param` names the field at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequest(GatewayError):
    status, type, code = 400, "invalid_request_error", "invalid_request"


class CostExceedsCapacity(InvalidRequest):
    code = "cost_exceeds_capacity"


class PayloadTooLarge(InvalidRequest):
    status, code = 413, "payload_too_large"


class AuthenticationFailed(GatewayError):
    status, type, code = 401, "authentication_error", "authentication_failed"


class ModelNotFound(GatewayError):
    status, type, code = 404, "not_found_error", "model_not_found"


class ApplicationNotFound(GatewayError):
    status, type, code = 404, "not_found_error", "application_not_found"


class ApplicationClosed(GatewayError):
    status, type, code = 409, "conflict_error", "application_closed"


class Rejected(GatewayError):
    """Turned away before queueing."""


class QueueFull(Rejected):
    status, type, code = 429, "rate_limit_error", "queue_full"


class QuotaExceeded(Rejected):
    status, type, code = 429, "rate_limit_error", "quota_exceeded"


class ShuttingDown(Rejected):
    status, type, code = 503, "service_unavailable_error", "shutting_down"


class Evicted(GatewayError):
    """Left the queue without having been dispatched."""


class QueueTimeout(Evicted):
    status, type, code = 503, "service_unavailable_error", "queue_timeout"


class EngineError(GatewayError):
    """The engine did not answer; an answer of its own, an error too, passes through untouched."""


class EngineUnreachable(EngineError):
    status, type, code = 502, "engine_error", "engine_unreachable"


class RequestUnsent(EngineUnreachable):
    """Nothing of the request has left: another engine may be asked."""


class EngineTimeout(EngineError):
    status, type, code = 504, "engine_error", "engine_timeout"


class StoreUnavailable(GatewayError):
    status, type, code = 503, "service_unavailable_error", "store_unavailable"


class ClientDisconnected(GatewayError):
    status, type, code = 499, "client_error", "client_disconnected"
