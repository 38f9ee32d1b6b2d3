"""Whether there are traces, and where they go: the setting `tracing.endpoint`, else OpenTelemetry's own variables.

The variables are those of its specification: OTEL_EXPORTER_OTLP_[TRACES_]{ENDPOINT, HEADERS, TIMEOUT, COMPRESSION,
CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY, PROTOCOL}, OTEL_BSP_*, OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER. Those of
samplers (OTEL_TRACES_SAMPLER, …_ARG) and of the resource (OTEL_SERVICE_NAME, …) are read by the SDK.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from gateway.settings import ImpossibleSetting, TracingSettings

_OTLP = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class TracingConfig:
    url: str
    """That is posted to."""
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 10.0
    """For one batch, with all that is tried again."""
    compresses: bool = False
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    delay_s: float = 5.0
    """At most, before what has ended is sent."""
    max_queued_spans: int = 2048
    max_batch_spans: int = 512
    records_prompts: bool = False

    def __repr__(self) -> str:
        return f"TracingConfig({shown_url(self.url)})"  # headers hold keys


def tracing_config(settings: TracingSettings, environment: Mapping[str, str]) -> TracingConfig | None:
    """None: no traces. Raises ImpossibleSetting."""
    url = _url(settings, environment)
    if url is None:
        return None
    protocol = _variable(environment, "PROTOCOL")
    if protocol not in (None, "http/protobuf"):
        raise ImpossibleSetting(f"{_OTLP}PROTOCOL = {protocol!r}: traces are sent as http/protobuf only")
    compression = _variable(environment, "COMPRESSION")
    if compression not in (None, "none", "gzip"):
        raise ImpossibleSetting(f"{_OTLP}COMPRESSION = {compression!r}: only gzip and none")
    if importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec("opentelemetry.sdk") is None:
        raise ImpossibleSetting("for traces, install justitia-gateway[tracing]")
    max_queued = _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1)
    return TracingConfig(
        url=url,
        headers=_headers(_variable(environment, "HEADERS") or ""),
        timeout_s=_number(environment, _name_of(environment, "TIMEOUT"), 10, 0.001),
        compresses=compression == "gzip",
        certificate=_variable(environment, "CERTIFICATE"),
        client_certificate=_variable(environment, "CLIENT_CERTIFICATE"),
        client_key=_variable(environment, "CLIENT_KEY"),
        delay_s=_number(environment, "OTEL_BSP_SCHEDULE_DELAY", 5000, 1) / 1000,
        max_queued_spans=int(max_queued),
        max_batch_spans=int(min(max_queued, _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1))),
        records_prompts=settings.records_prompts,
    )


def shown_url(url: str) -> str:
    """Without what may be a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _url(settings: TracingSettings, environment: Mapping[str, str]) -> str | None:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if settings.endpoint is not None:
        return _with_path(settings.endpoint)
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none":
        return None
    exact, base = environment.get(f"{_OTLP}TRACES_ENDPOINT"), environment.get(f"{_OTLP}ENDPOINT")
    url = exact or (_with_path(base) if base else None)
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ImpossibleSetting(f"{_OTLP}ENDPOINT: not an http(s) URL")  # its value may hold a password
    return url


def _with_path(base: str) -> str:
    return base if base.endswith("/v1/traces") else base.rstrip("/") + "/v1/traces"


def _name_of(environment: Mapping[str, str], name: str) -> str:
    """The signal's own variable goes before that of all signals."""
    own = f"{_OTLP}TRACES_{name}"
    return own if environment.get(own) else _OTLP + name


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(_name_of(environment, name), "").strip() or None


def _number(environment: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= 10**9:
        raise ImpossibleSetting(f"{name} = {text!r}: not a number from {least:g} on")
    return number


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """`name=value,…`, values percent-encoded."""
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, is_pair, held = part.partition("=")
        name, held = name.strip().lower(), unquote(held.strip())
        if not is_pair or not name.isascii() or not held.isascii() or not (name + held).isprintable() or " " in name:
            raise ImpossibleSetting(f"{_OTLP}HEADERS: not a list of name=value")  # it may hold a key
        pairs.append((name, held))
    return tuple(pairs)
