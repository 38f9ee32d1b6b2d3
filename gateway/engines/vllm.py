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

import httpx

from gateway.engines.patched import read_patched_state
from gateway.engines.stock import read_stock_state
from gateway.engines.upstream import Upstream, UpstreamResponse
from gateway.engines.wire import rank_to_wire
from gateway.errors import EngineTimeout, EngineUnreachable
from gateway.fairness.units import ApplicationId
from gateway.ports import EngineMode, EngineRequest, EngineState
from gateway.settings import EngineSettings

MAX_STATE_BYTES = 16 * 2**20
"""Far above any answer about state, models or metrics; a stranger on that port must not fill our memory."""

_ANY_STATE = f"/justitia/state?since={2**62}"
"""A number that no record has: the state alone, without thousands of records that nobody asked for."""

_OURS_TO_SET = frozenset({b"x-vllm-priority", b"x-session-id", b"x-request-id", b"authorization", b"accept-encoding"})


class VllmEngine:
    """Implements `gateway.ports.Engine`."""

    def __init__(self, url: str, settings: EngineSettings) -> None:
        base = httpx.URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError(f"not the URL of an engine: {url!r}")
        self.name = f"{base.host}:{base.port or (443 if base.scheme == 'https' else 80)}"
        self._base = base
        self._settings = settings
        self._upstream = Upstream(self.name, settings.connect_timeout_s, settings.silence_timeout_s)
        self._call_urls: dict[str, httpx.URL] = {}
        """Made once: parsing costs more than sending. As many as the API has routes, which is what `send` gets."""
        self._has_patch: bool | None = None
        """None until it was asked."""

    async def probe(self) -> EngineMode:
        models = _model_ids(await self._get("/v1/models", self._api_key()), self.name)
        self._has_patch = await self._find(_ANY_STATE, self._token()) is not None
        return EngineMode("patched" if self._has_patch else await self._stock_mode(), models)

    async def send(self, request: EngineRequest) -> UpstreamResponse:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
        headers = [(name, value) for name, value in headers if name not in _OURS_TO_SET]
        headers += [
            (b"accept-encoding", b"identity"),
            (b"x-vllm-priority", b"%d" % rank_to_wire(request.rank)),
            (b"x-session-id", request.application_id.encode()),
            (b"x-request-id", request.call_id.encode()),
        ]
        url = self._call_urls.get(request.path)
        if url is None:
            url = self._call_urls[request.path] = self._url(request.path)
        return await self._upstream.send(request.method, url, headers + self._api_key(), request.body)

    async def read_state(self, since: int) -> EngineState:
        if self._has_patch is not False:
            text = await self._find(f"/justitia/state?since={since}", self._token())
            self._has_patch = text is not None
            if text is not None:
                return read_patched_state(text, self.name)
        return read_stock_state((await self._get("/metrics", [])).decode("utf-8", "replace"), self.name)

    async def rerank(self, ranks: Mapping[ApplicationId, float]) -> None:
        if not self._has_patch or not ranks:
            return
        wire = {application_id: rank_to_wire(rank) for application_id, rank in ranks.items()}
        headers = [(b"content-type", b"application/json"), *self._token()]
        await self._ask("POST", "/justitia/ranks", headers, json.dumps({"ranks": wire}).encode())

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _stock_mode(self) -> str:
        # An error here leaves the policy unknown and the server well: vLLM lists its packages for this answer, which
        # fails where neither pip nor uv is at hand.
        _, text = await self._answer("GET", "/server_info?config_format=json", [], b"")
        return "priority" if _scheduling_policy(text) == "priority" else "unordered"

    async def _get(self, path: str, headers: list[tuple[bytes, bytes]]) -> bytes:
        text = await self._find(path, headers)
        if text is None:
            raise EngineUnreachable(f"engine {self.name} has no {path}: not a vLLM server?")
        return text

    async def _find(self, path: str, headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """None if there is no such route."""
        return await self._ask("GET", path, headers, b"")

    async def _ask(self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes | None:
        """One short question and its whole answer; None for a 404."""
        status, text = await self._answer(method, path, headers, body)
        if status == 404:
            return None
        if status in (401, 403):
            raise EngineUnreachable(f"engine {self.name} refuses our key or token for {path} ({status})")
        if status != 200:
            raise EngineUnreachable(f"engine {self.name} answered {status} to {path}")
        return text

    async def _answer(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, bytes]:
        """(status, text)."""
        try:
            async with asyncio.timeout(self._settings.state_timeout_s):
                response = await self._upstream.send(method, self._url(path), headers, body)
                try:
                    return response.status, await response.read(MAX_STATE_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise EngineTimeout(f"engine {self.name} has not answered {path} in time") from error

    def _url(self, path: str) -> httpx.URL:
        path, _, query = path.partition("?")
        raw = self._base.raw_path.rstrip(b"/") + path.encode("ascii") + (b"?" + query.encode("ascii") if query else b"")
        return self._base.copy_with(raw_path=raw)

    def _api_key(self) -> list[tuple[bytes, bytes]]:
        return _bearer(self._settings.api_key)

    def _token(self) -> list[tuple[bytes, bytes]]:
        return _bearer(self._settings.token)


def _bearer(secret: str | None) -> list[tuple[bytes, bytes]]:
    return [] if secret is None else [(b"authorization", f"Bearer {secret}".encode())]


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
