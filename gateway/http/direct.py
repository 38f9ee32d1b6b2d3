"""Questions that an engine answers without running a model: passed on at once, to the first engine that can answer.

They may be asked of another engine when one fails, as long as nothing of an answer has gone to the client.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from gateway.errors import EngineError, EngineTimeout, EngineUnreachable, InvalidRequest, ModelNotFound
from gateway.fairness.units import ApplicationId
from gateway.http.apis import Api
from gateway.http.bodies import read_model, read_object
from gateway.http.disconnect import ClientWatch
from gateway.http.errors import RouteNotFound
from gateway.http.exchange import Exchange
from gateway.http.headers import to_client, to_engine
from gateway.http.ownership import ResponseNotFound, home_of
from gateway.http.streaming import is_event_stream
from gateway.identity import Keys, carried_key
from gateway.ports import Engine, EngineRequest, EngineResponse, LinkStore
from gateway.scheduling.dispatcher import Dispatcher
from gateway.settings import Settings

_MAX_MODELS_BYTES = 4 * 2**20
_MAX_QUERY_CHARS = 1024


class Direct:
    def __init__(self, dispatcher: Dispatcher, keys: Keys, links: LinkStore, settings: Settings) -> None:
        self._dispatcher = dispatcher
        self._keys = keys
        self._links = links
        self._settings = settings

    async def ask(self, exchange: Exchange, api: Api) -> None:
        """About a text: how many tokens, and which. Raises GatewayError."""
        exchange.name_tenant(self._keys.tenant_of(carried_key(exchange.raw_headers)))
        raw_body = await exchange.read_body(self._settings.server.max_body_bytes)
        model = read_model(read_object(raw_body))
        engines = self._dispatcher.engines_serving(model)
        if not engines:
            raise self._nobody_serves(model)
        async with ClientWatch(exchange.receive) as watch:
            await self._relay_first(exchange, engines, api.engine_path, raw_body)
            watch.stop()
            await exchange.write(b"", is_last=True)

    async def stored_response(self, exchange: Exchange, path: str) -> None:
        """A response that an engine keeps: asked of all until one has it, first of the one that is known to. Raises
        GatewayError."""
        tenant = self._keys.tenant_of(carried_key(exchange.raw_headers))
        exchange.name_tenant(tenant)
        try:
            home = await home_of(self._keys, self._links, tenant, path.split("/")[3])
        except ResponseNotFound as unknown:  # as the engine calls what stands in the path
            raise ResponseNotFound(unknown.message, param="response_id") from None
        engines = sorted(self._dispatcher.engines, key=lambda engine: engine.name != home)
        raw_body = await exchange.read_body(self._settings.server.max_body_bytes)
        if exchange.query:
            if len(exchange.query) > _MAX_QUERY_CHARS or not exchange.query.isascii():
                raise InvalidRequest("The query of the URL is too long, or not ASCII.")
            path += "?" + exchange.query
        async with ClientWatch(exchange.receive) as watch:
            await self._relay_first(exchange, engines, path, raw_body, may_lack_it=True)
            watch.stop()
            await exchange.write(b"", is_last=True)

    async def models(self, exchange: Exchange) -> None:
        """What all engines serve. Raises GatewayError."""
        exchange.name_tenant(self._keys.tenant_of(carried_key(exchange.raw_headers)))
        answers = await asyncio.gather(
            *(self._models_of(engine, exchange) for engine in self._dispatcher.engines), return_exceptions=True
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

    def _nobody_serves(self, model: str) -> ModelNotFound | EngineUnreachable:
        if self._dispatcher.are_all_up():
            return ModelNotFound(f"No engine serves the model {model!r}.", param="model")
        return EngineUnreachable("No engine that can be reached serves this model.")

    async def _relay_first(
        self, exchange: Exchange, engines: Sequence[Engine], path: str, body: bytes, *, may_lack_it: bool = False
    ) -> None:
        """The first answer there is; with `may_lack_it`, a 404 only if nobody has anything else to say."""
        failure: EngineError | None = None
        for number, engine in enumerate(engines, start=1):
            try:
                response = await self._send(exchange, engine, exchange.method, path, body)
            except EngineError as error:
                failure = error
                continue
            try:
                if response.status == 404 and may_lack_it and (number < len(engines) or failure is not None):
                    continue
                return await _relay(exchange, response)
            finally:
                await response.aclose()
        raise failure or RouteNotFound(f"There is no {path.partition('?')[0]}.")

    async def _send(self, exchange: Exchange, engine: Engine, method: str, path: str, body: bytes) -> EngineResponse:
        request = EngineRequest(
            method, path, to_engine(exchange.raw_headers), body, exchange.call_id, ApplicationId(""), 0.0
        )
        with exchange.waiting:
            return await engine.send(request)

    async def _models_of(self, engine: Engine, exchange: Exchange) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(self._settings.engines.state_timeout_s):
                response = await self._send(exchange, engine, "GET", "/v1/models", b"")
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


async def _relay(exchange: Exchange, response: EngineResponse) -> None:
    """All but the end."""
    headers = to_client(response.headers)
    exchange.is_event_stream = is_event_stream(headers)
    await exchange.begin(response.status, headers)
    async for chunk in response.chunks():
        await exchange.write(chunk)
