"""Spans of calls, sent to an OpenTelemetry collector (OTLP over HTTP, protobuf).

    <client's span> ─► chat MODEL (server) ─┬─► queue     arrival → dispatch
                                            └─► engine    dispatch → last byte (client); vLLM's spans hang below it

`config` says whether and where to, from a setting and OpenTelemetry's own variables. `tracer` begins traces and asks
the SDK's sampler; `spans` writes a call that has ended as bytes of the protocol, by `wire`; `outbox` keeps them,
bounded, and `collector` sends them.

Samplers and the resource are the SDK's. Its spans and its exporter are not used: they build every attribute
anew, as objects of their own, and would be a large part of what a call costs. What is sent is the same protocol, which
the tests read with OpenTelemetry's own classes.

Only `composition` imports this package, and all of it but `config` only where traces are wanted.
"""
