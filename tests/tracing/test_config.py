"""Whether there are traces, and where they go."""

import pytest

from gateway.settings import ImpossibleSetting, TracingSettings, load_settings
from gateway.tracing.config import TracingConfig, tracing_config

OTLP = "OTEL_EXPORTER_OTLP_"
BASE = {f"{OTLP}ENDPOINT": "http://collector:4318"}


def config(endpoint: str | None = None, **environment: str) -> TracingConfig | None:
    return tracing_config(TracingSettings(endpoint=endpoint), environment)


@pytest.mark.parametrize(
    ("endpoint", "environment", "url"),
    [
        (None, {}, None),
        (None, BASE, "http://collector:4318/v1/traces"),
        (None, {f"{OTLP}ENDPOINT": "http://collector:4318/"}, "http://collector:4318/v1/traces"),
        (None, BASE | {f"{OTLP}TRACES_ENDPOINT": "https://other/exactly"}, "https://other/exactly"),
        ("http://set:1", BASE, "http://set:1/v1/traces"),
        ("http://set:1/v1/traces", {}, "http://set:1/v1/traces"),
        (None, BASE | {"OTEL_TRACES_EXPORTER": "none"}, None),
        (None, BASE | {"OTEL_SDK_DISABLED": "true"}, None),
        ("http://set:1", {"OTEL_SDK_DISABLED": "TRUE"}, None),
        (None, {f"{OTLP}ENDPOINT": ""}, None),
    ],
)
def test_where_they_go(endpoint: str | None, environment: dict[str, str], url: str | None) -> None:
    found = config(endpoint, **environment)
    assert (found and found.url) == url


def test_the_standard_variables() -> None:
    own = {
        f"{OTLP}HEADERS": "authorization=Basic%20a2V5, x-scope=7",
        f"{OTLP}TIMEOUT": "3",
        f"{OTLP}TRACES_TIMEOUT": "2.5",
        f"{OTLP}COMPRESSION": "gzip",
        f"{OTLP}PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000",
    }
    found = config(**BASE, **own)
    assert found == TracingConfig(
        "http://collector:4318/v1/traces",
        headers=(("authorization", "Basic a2V5"), ("x-scope", "7")),
        timeout_s=2.5,
        compresses=True,
        delay_s=0.25,
        max_queued_spans=100,
        max_batch_spans=100,
    )
    assert "a2V5" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{OTLP}PROTOCOL", "grpc"),
        (f"{OTLP}COMPRESSION", "zstd"),
        (f"{OTLP}TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "nan"),
        (f"{OTLP}HEADERS", "sk-secret"),
        (f"{OTLP}HEADERS", "a=sk-secret%0d%0ab: c"),
        (f"{OTLP}TRACES_ENDPOINT", "user:sk-secret@host"),
    ],
)
def test_what_cannot_be_is_one_line_without_secrets(name: str, value: str) -> None:
    with pytest.raises(ImpossibleSetting) as refused:
        config(**BASE, **{name: value})
    assert name.removeprefix(OTLP).removeprefix("TRACES_") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_impossible_setting() -> None:
    with pytest.raises(ImpossibleSetting, match=r"setting tracing\.endpoint"):
        load_settings({}, None, {"tracing": {"endpoint": "collector:4318"}})
