"""What the Prometheus operator takes, as far as we use it: anything else is refused, a misspelt word included."""

from typing import Any

DURATION = {"type": "string", "pattern": r"^(0|[0-9]+(ms|s|m|h|d))$"}
TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        {
            "apiVersion": {"const": "monitoring.coreos.com/v1"},
            "kind": {"const": kind},
            "metadata": _object({"name": TEXT}, namespace=TEXT, labels=TEXTS, annotations=TEXTS),
            "spec": spec,
        }
    )


_ALERT = _object({"alert": TEXT, "expr": TEXT}, labels=TEXTS, annotations=TEXTS, **{"for": DURATION})
_RECORD = _object({"record": TEXT, "expr": TEXT}, labels=TEXTS)
_ENDPOINT = _object({"port": TEXT}, path=TEXT, interval=DURATION, scrapeTimeout=DURATION)

CRDS = {
    "PrometheusRule": _resource(
        "PrometheusRule",
        _object(
            {
                "groups": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object(
                        {"name": TEXT, "rules": {"type": "array", "items": {"oneOf": [_ALERT, _RECORD]}}},
                        interval=DURATION,
                        limit={"type": "integer"},
                    ),
                }
            }
        ),
    ),
    "ServiceMonitor": _resource(
        "ServiceMonitor",
        _object(
            {
                "selector": _object({"matchLabels": TEXTS}),
                "endpoints": {"type": "array", "minItems": 1, "items": _ENDPOINT},
            },
            jobLabel=TEXT,
        ),
    ),
}
