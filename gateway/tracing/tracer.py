"""The tracer: which calls are traced, under whose span, and what their engines are told of it."""

import random
from binascii import hexlify
from collections.abc import Callable, Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState, set_span_in_context

from gateway.call_report import CallReport, EngineHeaders
from gateway.trace_context import TraceParent, read_traceparent
from gateway.tracing.collector import Collector
from gateway.tracing.config import TracingConfig
from gateway.tracing.outbox import Outbox
from gateway.tracing.spans import OPERATIONS, CallSpans
from gateway.tracing.wire import Held

_NO_PARENT = Context()
_MAX_STATE_CHARS = 512


class OtlpTracer:
    """Implements `gateway.call_report.Tracer`."""

    def __init__(self, config: TracingConfig, version: str, count: Callable[[int, bool], None]) -> None:
        """`count`: so many spans more were sent, or dropped. Raises ValueError for what cannot be set up."""
        self.records_prompts = config.records_prompts
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._collector = Collector(config, _resource(version), version)
        self.outbox = Outbox(config, self._collector.send, count)

    def begin(self, headers: Mapping[str, str], route: str) -> "Trace":
        sent = headers.get("traceparent")
        parent = None if sent is None else read_traceparent(sent)
        if parent is None:
            trace_id, state, is_sampled = random.getrandbits(128).to_bytes(16), "", True
        else:
            trace_id, state, is_sampled = (
                bytes.fromhex(parent.trace_id),
                headers.get("tracestate", ""),
                parent.is_sampled,
            )
            if len(state) > _MAX_STATE_CHARS or not (state.isascii() and state.isprintable()):
                state = ""
        if self._sampler is not DEFAULT_ON:  # which says just this, and is what nearly all have
            is_sampled = self._samples(trace_id, parent, state, route)
        return Trace(self, trace_id, parent, state, is_sampled)

    def _samples(self, trace_id: bytes, parent: TraceParent | None, state: str, route: str) -> bool:
        context = _NO_PARENT if parent is None else _context(parent, state)
        operation = OPERATIONS.get(route, "chat")
        decision = self._sampler.should_sample(context, int.from_bytes(trace_id), operation, SpanKind.SERVER)
        return decision.decision is Decision.RECORD_AND_SAMPLE

    async def run(self) -> None:
        await self.outbox.run()

    async def aclose(self) -> None:
        await self.outbox.flush()
        await self._collector.aclose()


class Trace:
    """Of one call. Implements `gateway.call_report.CallTrace`."""

    __slots__ = ("_engine_ids", "_parent", "_span_id", "_state", "_trace_id", "_tracer", "is_sampled")

    def __init__(
        self, tracer: OtlpTracer, trace_id: bytes, parent: TraceParent | None, state: str, is_sampled: bool
    ) -> None:
        self.is_sampled = is_sampled
        self._tracer = tracer
        self._trace_id = trace_id
        self._parent = parent
        self._state = state
        self._span_id = _new_id()
        self._engine_ids: list[bytes] = []

    @property
    def trace_id(self) -> str:
        """In hex."""
        return self._trace_id.hex()

    def onward(self) -> EngineHeaders:
        """Of a call that is not sampled, too: then the engine knows that it is not."""
        engine_id = _new_id()
        self._engine_ids.append(engine_id)
        told = b"00-%b-%b-0%d" % (hexlify(self._trace_id), hexlify(engine_id), self.is_sampled)
        if self._state:
            return ((b"traceparent", told), (b"tracestate", self._state.encode()))
        return ((b"traceparent", told),)

    def ended(self, report: CallReport) -> None:
        parent_id = b"" if self._parent is None else bytes.fromhex(self._parent.span_id)
        spans = CallSpans(self._trace_id, self._span_id, parent_id, self._state, self._engine_ids)
        new_ids = [_new_id() for _ in report.attempts]
        keeps_text = self._tracer.records_prompts
        self._tracer.outbox.put(*spans.encoded(report, new_ids, keeps_text=keeps_text))


def _new_id() -> bytes:
    return random.getrandbits(64).to_bytes(8)


def _context(parent: TraceParent, state: str) -> Context:
    span = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.is_sampled),
        trace_state=TraceState.from_header([state]) if state else None,
    )
    return set_span_in_context(NonRecordingSpan(span), _NO_PARENT)


def _resource(version: str) -> dict[str, Held]:
    found: dict[str, Held] = {SERVICE_VERSION: version}
    found |= {name: held for name, held in Resource.create().attributes.items() if isinstance(held, Held)}
    if str(found.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        found[SERVICE_NAME] = "justitia-gateway"
    return found
