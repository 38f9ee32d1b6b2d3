"""One vLLM server, patched or stock.

How far a server follows our order is found out without sending it work:

- its state route answers: `patched`;
- it does not, but its development route /server_info (VLLM_SERVER_DEV_MODE=1) tells the scheduling policy: `priority`
  or `unordered`;
- neither: `unordered`. Nothing else that vLLM exposes tells its policy, and an order must not be claimed that is not
  known. The rank is sent all the same, so a server that was started with --scheduling-policy priority obeys it.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from gateway.engines.origin import Origin
from gateway.engines.patched import read_patched_state
from gateway.engines.response import UpstreamResponse
from gateway.engines.stock import read_stock_state
from gateway.engines.upstream import Upstream
from gateway.engines.wire import rank_to_wire
from gateway.errors import EngineTimeout, EngineUnreachable
from gateway.fairness.units import ApplicationId
from gateway.ports import EngineMode, EngineRequest, EngineState
from gateway.settings import EngineSettings

MAX_STATE_BYTES = 16 * 2**20
"""Far above any answer about state, models or metrics; a stranger on that port must not fill our memory."""

_ANY_STATE = f"/justitia/state?since={2**62}"
"""A number that no record has: the state alone, without thousands of records that nobody asked for."""

Headers = list[tuple[bytes, bytes]]

_OURS_TO_SET = frozenset({b"x-vllm-priority", b"x-session-id", b"x-request-id", b"authorization", b"accept-encoding"})


class VllmEngine:
    """Implements `gateway.ports.Engine`."""

    def __init__(self, url: str, settings: EngineSettings) -> None:
        origin = Origin.of(url)
        self.name = origin.name
        self._origin = origin
        self._settings = settings
        self._upstream = Upstream(origin, settings.connect_timeout_s, settings.silence_timeout_s)
        self._api_key = _authorization(settings.api_key, origin)
        self._token = _authorization(settings.token, origin)
        self._open_to_all = _authorization(None, origin)
        self._of_every_call: Headers = [(b"accept-encoding", b"identity"), *self._api_key]
        self._has_patch: bool | None = None
        """None until it was asked."""

    async def probe(self) -> EngineMode:
        models = _model_ids(await self._get("/v1/models", self._api_key), self.name)
        self._has_patch = await self._find(_ANY_STATE, self._token) is not None
        return EngineMode("patched" if self._has_patch else await self._stock_mode(), models)

    async def send(self, request: EngineRequest) -> UpstreamResponse:
        headers = [pair for pair in request.headers if pair[0] not in _OURS_TO_SET]
        headers += self._of_every_call
        headers += (
            (b"x-vllm-priority", b"%d" % rank_to_wire(request.rank)),
            (b"x-session-id", request.application_id.encode()),
            (b"x-request-id", request.call_id.encode()),
        )
        return await self._upstream.send(request.method, self._origin.target(request.path), headers, request.body)

    async def read_state(self, since: int) -> EngineState:
        if self._has_patch is not False:
            text = await self._find(f"/justitia/state?since={since}", self._token)
            self._has_patch = text is not None
            if text is not None:
                return read_patched_state(text, self.name)
        return read_stock_state((await self._get("/metrics", self._open_to_all)).decode("utf-8", "replace"), self.name)

    async def rerank(self, ranks: Mapping[ApplicationId, float]) -> None:
        if not self._has_patch or not ranks:
            return
        wire = {application_id: rank_to_wire(rank) for application_id, rank in ranks.items()}
        headers = [(b"content-type", b"application/json"), *self._token]
        await self._ask("POST", "/justitia/ranks", headers, json.dumps({"ranks": wire}).encode())

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _stock_mode(self) -> str:
        # An error here leaves the policy unknown and the server well: vLLM lists its packages for this answer, which
        # fails where neither pip nor uv is at hand.
        _, text = await self._answer("GET", "/server_info?config_format=json", self._open_to_all, b"")
        return "priority" if _scheduling_policy(text) == "priority" else "unordered"

    async def _get(self, path: str, headers: Headers) -> bytes:
        text = await self._find(path, headers)
        if text is None:
            raise EngineUnreachable(f"engine {self.name} has no {path}: not a vLLM server?")
        return text

    async def _find(self, path: str, headers: Headers) -> bytes | None:
        """None if there is no such route."""
        return await self._ask("GET", path, headers, b"")

    async def _ask(self, method: str, path: str, headers: Headers, body: bytes) -> bytes | None:
        """One short question and its whole answer; None for a 404."""
        status, text = await self._answer(method, path, headers, body)
        if status == 404:
            return None
        if status in (401, 403):
            raise EngineUnreachable(f"engine {self.name} refuses our key or token for {path} ({status})")
        if status != 200:
            raise EngineUnreachable(f"engine {self.name} answered {status} to {path}")
        return text

    async def _answer(self, method: str, path: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        """(status, text)."""
        try:
            async with asyncio.timeout(self._settings.state_timeout_s):
                response = await self._upstream.send(method, self._origin.target(path), headers, body)
                try:
                    return response.status, await response.read(MAX_STATE_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise EngineTimeout(f"engine {self.name} has not answered {path} in time") from error


def _authorization(secret: str | None, origin: Origin) -> Headers:
    """Our key where there is one, else what the engine's URL says."""
    value = origin.basic if secret is None else f"Bearer {secret}".encode()
    return [] if value is None else [(b"authorization", value)]


def _model_ids(text: bytes, engine: str) -> tuple[str, ...]:
    try:
        return tuple(str(model["id"]) for model in json.loads(text)["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineUnreachable(f"engine {engine}: /v1/models answered no list of models ({error!r})") from error


def _scheduling_policy(text: bytes) -> str | None:
    try:
        config: Any = json.loads(text)["vllm_config"]["scheduler_config"]["policy"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(config)
