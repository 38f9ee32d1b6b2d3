"""OpenAI's API: calls, and the list of models."""

import asyncio
import json
import math
from typing import Any

from gateway.errors import EngineError, EngineTimeout, EngineUnreachable, InvalidRequest
from gateway.fairness.units import KvTokenTime
from gateway.http.bodies import CallBody, read_call
from gateway.http.disconnect import ClientWatch
from gateway.http.exchange import Exchange
from gateway.http.headers import find, to_engine
from gateway.http.streaming import relay
from gateway.identity import Identity, KeyRing, RequestFacts, carried_key, identify
from gateway.metrics import Metrics
from gateway.ports import Engine, EngineRequest
from gateway.scheduling.dispatcher import Dispatcher, Lease
from gateway.scheduling.model import CallRequest
from gateway.settings import Settings

_MAX_MODELS_BYTES = 4 * 2**20


class OpenAiApi:
    def __init__(self, dispatcher: Dispatcher, keys: KeyRing, settings: Settings, metrics: Metrics) -> None:
        self._dispatcher = dispatcher
        self._keys = keys
        self._settings = settings
        self._metrics = metrics

    async def call(self, exchange: Exchange) -> None:
        """One call, from its body to the last byte of its answer. Raises GatewayError."""
        identity = self._identify(exchange)
        self._metrics.identity(identity.rule)
        raw_body = await exchange.read_body(self._settings.server.max_body_bytes)
        # Only an application's first call is predicted from; reading a prompt takes as long as parsing the body.
        body = read_call(raw_body, wants_prompt=not self._dispatcher.knows(identity.root))
        request = CallRequest(
            call_id=exchange.call_id,
            identity=identity,
            model=body.model,
            prompt_tokens_hint=body.prompt_tokens,
            max_tokens=body.max_tokens,
            body_bytes=len(raw_body),
            declared_cost=_declared_cost(exchange),
            text=body.prompt.text,
            num_tools=body.prompt.num_tools,
            shape=body.prompt.shape,
        )
        async with ClientWatch(exchange.receive) as watch:
            async with self._dispatcher.call(request) as lease:
                exchange.waited(lease.queue_s)
                last_bytes = await self._forward(exchange, identity, body, lease)
            watch.stop()
            await exchange.write(last_bytes, is_last=True)

    async def models(self, exchange: Exchange) -> None:
        """What all engines serve, asked at once and without a queue."""
        identity = self._identify(exchange)
        answers = await asyncio.gather(
            *(self._models_of(engine, exchange, identity) for engine in self._dispatcher.engines),
            return_exceptions=True,
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if not isinstance(failure, EngineError):
                raise failure
        if len(failures) == len(answers):
            raise EngineUnreachable("No engine can be reached.")
        merged: dict[str, dict[str, Any]] = {}
        for answer in answers:
            if not isinstance(answer, BaseException):
                for model in answer:
                    merged.setdefault(str(model.get("id")), model)
        await exchange.answer_json(200, {"object": "list", "data": list(merged.values())})

    def _identify(self, exchange: Exchange) -> Identity:
        facts = RequestFacts(exchange.path, exchange.headers, carried_key(exchange.headers), exchange.call_id)
        identity = identify(facts, self._keys)
        exchange.name_application(identity)
        return identity

    async def _forward(self, exchange: Exchange, identity: Identity, body: CallBody, lease: Lease) -> bytes:
        exchange.label("x-justitia-virtual-finish-time", repr(float(lease.virtual_finish_time)))
        exchange.label("x-justitia-queue-ms", f"{1000 * lease.queue_s:.3f}")
        request = EngineRequest(
            method="POST",
            path=identity.upstream_path,
            headers=to_engine(exchange.headers),
            body=body.payload,
            call_id=exchange.call_id,
            application_id=lease.application_id,
            rank=lease.rank,
        )
        with exchange.waiting():
            response = await lease.engine.send(request)
        try:
            return await relay(exchange, response, lease, self._metrics, hides_usage=body.hides_usage)
        finally:
            await response.aclose()

    async def _models_of(self, engine: Engine, exchange: Exchange, identity: Identity) -> list[dict[str, Any]]:
        request = EngineRequest(
            "GET", "/v1/models", to_engine(exchange.headers), b"", exchange.call_id, identity.root, 0.0
        )
        try:
            async with asyncio.timeout(self._settings.engines.state_timeout_s):
                response = await engine.send(request)
                try:
                    text = bytearray()
                    async for chunk in response.chunks():
                        text += chunk[: _MAX_MODELS_BYTES - len(text)]
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise EngineTimeout(f"Engine {engine.name} has not told its models in time.") from error
        try:
            return [model for model in json.loads(text)["data"] if isinstance(model, dict)]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineUnreachable(f"Engine {engine.name} answered no list of models.") from error


def _declared_cost(exchange: Exchange) -> KvTokenTime | None:
    name = "X-Justitia-Expected-Cost"
    text = find(exchange.headers, name.lower())
    if text is None:
        return None
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if not 0 < cost < math.inf:
        raise InvalidRequest(f"{name} must be a number of token·iterations above 0.", param=name)
    return KvTokenTime(cost)
