"""The other end of the wire: a gateway, spoken to with the real OpenAI client as any agent would.

An application is named by its base URL alone, /apps/{kind}/runs/{run}/v1; no call carries a header of ours. What goes
beyond the OpenAI API: an application is declared before its first call if its cost is to be known, and closed after its
last, both on the gateway's own routes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import httpx

from gateway.demo.prompts import PreparedApplication, PreparedCall
from gateway.demo.replay import CallEnd, CallFailed
from gateway.identity.names import joined_name, safe_name

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Costs = Literal["declared", "kind-mean"]
"""Whether each application declares its true cost before its first call, or the gateway goes by its kind's mean."""

API_KEY = "demo"
"""Any key does in the gateway's open mode: every key is a tenant."""

_TIMEOUT_S = 1800.0
"""Of one call. Waiting is what is measured here: the gateway's own queue timeout is to end it, not the client's."""


@dataclass(frozen=True, slots=True)
class CallStyle:
    """What is the same for every call of a run."""

    model: str
    run: str
    """Distinct for every run against one engine: names the applications' runs and keeps prefix caches apart."""
    costs: Costs
    is_streaming: bool


@asynccontextmanager
async def gateway_caller(url: str, style: CallStyle) -> "AsyncIterator[GatewayCaller]":
    """A caller against the gateway at `url`; its connections close with the context."""
    # Only here is it certain that the extra is installed: the command has checked.
    from openai import AsyncOpenAI

    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        # No retries: a call that fails is to be seen.
        AsyncOpenAI(api_key=API_KEY, base_url=f"{url}/v1", max_retries=0, timeout=_TIMEOUT_S) as client,
        # Minutes lie between declaring and closing: a kept connection would only be closed under our hands.
        httpx.AsyncClient(
            base_url=url, headers=headers, timeout=30.0, limits=httpx.Limits(max_keepalive_connections=0)
        ) as routes,
    ):
        yield GatewayCaller(url, client, routes, style)


class GatewayCaller:
    def __init__(self, url: str, client: "AsyncOpenAI", routes: httpx.AsyncClient, style: CallStyle) -> None:
        self._url = url
        self._client = client
        self._routes = routes
        self._style = style

    async def begin(self, application: PreparedApplication) -> None:
        if self._style.costs == "declared":
            name = self._name(application)
            declaration = {"id": name, "kind": application.kind, "expected_cost": application.cost}
            await self._post("/v1/applications", declaration, "declaring")

    async def call(self, application: PreparedApplication, call: PreparedCall) -> CallEnd:
        from openai import OpenAIError

        path = f"/apps/{quote(application.kind, safe='')}/runs/{quote(self._run(application), safe='')}/v1"
        client = self._client.with_options(base_url=self._url + path)
        extra: dict[str, Any] = {}
        if self._style.is_streaming:
            extra = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            answer = await client.chat.completions.create(
                model=self._style.model,
                messages=[dict(message) for message in call.messages],  # type: ignore[misc]
                max_tokens=call.output_tokens,
                # The recorded length whatever the model says, and no cache left over from the run before: the salt
                # keeps prefixes apart between runs and shared within one.
                extra_body={
                    "ignore_eos": True,
                    "min_tokens": call.output_tokens,
                    "cache_salt": self._style.run,
                },
                **extra,
            )
            usage = await _last_usage(answer) if self._style.is_streaming else answer.usage
        except OpenAIError as error:
            raise CallFailed(f"call {call.call_id}: {_one_line(error)}") from error
        if usage is None:
            raise CallFailed(f"call {call.call_id}: the answer tells no usage")
        return CallEnd(usage.prompt_tokens, usage.completion_tokens)

    async def end(self, application: PreparedApplication) -> None:
        await self._post(f"/v1/applications/{quote(self._name(application), safe='')}/close", None, "closing")

    def _run(self, application: PreparedApplication) -> str:
        return f"{self._style.run}-{application.app_id}"

    def _name(self, application: PreparedApplication) -> str:
        """What the gateway calls an application that is named by this path."""
        return joined_name(safe_name(application.kind), safe_name(self._run(application)))

    async def _post(self, path: str, body: object, doing: str) -> None:
        try:
            answer = await self._routes.post(path, json=body)
        except httpx.HTTPError as error:
            raise CallFailed(f"{doing}: {type(error).__name__} {_one_line(error)}") from error
        if not answer.is_success:
            raise CallFailed(f"{doing}: {answer.status_code} {answer.text[:200]}")


async def _last_usage(stream: Any) -> Any:
    usage = None
    async for chunk in stream:
        usage = chunk.usage or usage
    return usage


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
