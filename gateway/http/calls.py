"""Calls that run a model: from the body to the last byte of the answer."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import InvalidRequest
from gateway.fairness.units import KvTokenTime
from gateway.http.answer_notes import AnswerNotes
from gateway.http.apis import Api
from gateway.http.bodies import CallBody, read_call, read_object
from gateway.http.call_watch import CallWatch
from gateway.http.disconnect import ClientWatch
from gateway.http.exchange import Exchange
from gateway.http.headers import to_engine
from gateway.http.ownership import home_of
from gateway.http.streaming import Relay
from gateway.http.waiting_comments import WaitingComments
from gateway.identity import Identity, Inquiry, Keys, RequestFacts, carried_key
from gateway.metrics import Metrics
from gateway.ports import EngineRequest, LinkStore
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.lease import Lease, TryElsewhere
from gateway.scheduling.model import CallRequest
from gateway.settings import Settings

_MAX_LEFT_OPEN = 20_000
"""Applications known here: from so many on, unnamed calls end theirs at once instead of when it has been idle.
What continues one of them all the same opens it again."""


class Calls:
    def __init__(
        self,
        dispatcher: Dispatcher,
        keys: Keys,
        links: LinkStore,
        settings: Settings,
        metrics: Metrics,
        watch: CallWatch | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._keys = keys
        self._links = links
        self._settings = settings
        self._metrics = metrics
        self._watch = watch
        self._reads_prompts = watch is not None and watch.reads_prompts

    async def serve(self, exchange: Exchange, api: Api) -> None:
        """Raises GatewayError."""
        watch = self._watch
        if watch is None:
            await self._serve(exchange, api)
            return
        watch.begin(exchange, api.engine_path)
        try:
            await self._serve(exchange, api)
        except BaseException as error:
            watch.end(exchange, api.engine_path, error)
            raise
        watch.end(exchange, api.engine_path, None)

    async def _serve(self, exchange: Exchange, api: Api) -> None:
        # Who pays is known before a body is read: a stranger's is none of ours.
        tenant = self._keys.tenant_of(carried_key(exchange.raw_headers))
        exchange.name_tenant(tenant)
        try:
            body, request, notes = await self._read(exchange, api, tenant)
        except RecursionError as error:  # orjson reads what is nested a little deeper than others can write
            raise InvalidRequest("The body is nested too deeply.") from error
        async with ClientWatch(exchange.receive) as watch:
            try:
                last_bytes = await self._carry_out(exchange, api, body, request, notes)
            except TryElsewhere as failure:
                again = replace(request, call_id=exchange.next_call_id(), avoids=failure.engine)
                last_bytes = await self._carry_out(exchange, api, body, again, notes)
            watch.stop()
            await exchange.write(last_bytes, is_last=True)

    async def _read(self, exchange: Exchange, api: Api, tenant: str) -> tuple[CallBody, CallRequest, AnswerNotes]:
        """Its body parsed is needed no longer than this takes, and takes several times the memory of its bytes."""
        raw_body = await exchange.read_body(self._settings.server.max_body_bytes)
        fields = read_object(raw_body)
        identity, notes = await self._identify(exchange, tenant, fields)
        previous, home = fields.get("previous_response_id"), None
        if isinstance(previous, str):
            home = await home_of(self._keys, self._links, tenant, previous)
        # Only an application's first call is predicted from; reading a prompt takes as long as parsing the body.
        wants_prompt = self._reads_prompts or not self._dispatcher.knows(identity.root)
        body = read_call(raw_body, fields, api, wants_prompt=wants_prompt)
        request = CallRequest(
            call_id=exchange.call_id,
            identity=identity,
            model=body.model,
            prompt_tokens_hint=body.prompt_tokens,
            max_tokens=body.max_tokens,
            body_bytes=len(raw_body),
            declared_cost=_declared_cost(exchange),
            deadline_s=_deadline_s(exchange),
            text=body.prompt.text,
            num_tools=body.prompt.num_tools,
            shape=body.prompt.shape,
            wants=home,
        )
        return body, request, notes

    async def _carry_out(
        self, exchange: Exchange, api: Api, body: CallBody, request: CallRequest, notes: AnswerNotes
    ) -> bytes:
        """All but the end of the answer, which is returned."""
        interval_s = self._settings.server.stream_comment_interval_s
        passage = self._dispatcher.call(request)
        exchange.attempts.append(passage)
        if interval_s is None or not body.is_stream:
            async with passage as lease:
                return await self._forward(exchange, api, body, lease, notes)
        standing = lambda: self._dispatcher.waiting(request.call_id)  # noqa: E731
        async with WaitingComments(exchange, interval_s, standing) as comments, passage as lease:
            await comments.stop()
            return await self._forward(exchange, api, body, lease, notes)

    async def _identify(
        self, exchange: Exchange, tenant: str, fields: Mapping[str, Any]
    ) -> tuple[Identity, AnswerNotes]:
        inquiry = Inquiry(RequestFacts(exchange.path, exchange.headers, exchange.call_id, fields), tenant)
        with exchange.waiting:
            known = await self._links.find(tenant, inquiry.wanted) if inquiry.wanted else {}
            identity = inquiry.identity(known)
            left = inquiry.links(identity)
            if left:
                await self._links.note(tenant, left)
        if identity.rule == "none" and self._dispatcher.num_applications >= _MAX_LEFT_OPEN:
            identity = replace(identity, is_final=True)
        exchange.name_application(identity)
        self._metrics.identity(identity.rule)
        return identity, AnswerNotes(inquiry, identity, self._links)

    async def _forward(self, exchange: Exchange, api: Api, body: CallBody, lease: Lease, notes: AnswerNotes) -> bytes:
        notes.engine = lease.engine.name
        exchange.dispatched(lease.virtual_finish_time, lease.queue_s)
        trace = exchange.trace
        if trace is None:
            headers = to_engine(exchange.raw_headers)
        else:
            headers = to_engine(exchange.raw_headers, without_trace=True) + trace.onward()
        request = EngineRequest(
            method="POST",
            path=api.engine_path,
            headers=headers,
            body=body.payload,
            call_id=lease.call_id,
            application_id=lease.application_id,
            rank=lease.rank,
        )
        with exchange.waiting:
            response = await lease.engine.send(request)
        try:
            return await Relay(exchange, response, lease, self._metrics, notes).run(hides_usage=body.hides_usage)
        finally:
            await response.aclose()


def _deadline_s(exchange: Exchange) -> float | None:
    milliseconds = _positive(exchange, "X-Justitia-Deadline-Ms", "must be a number of milliseconds above 0")
    return None if milliseconds is None else milliseconds / 1000


def _declared_cost(exchange: Exchange) -> KvTokenTime | None:
    cost = _positive(exchange, "X-Justitia-Expected-Cost", "must be a number of token·iterations above 0")
    return None if cost is None else KvTokenTime(cost)


def _positive(exchange: Exchange, name: str, wanted: str) -> float | None:
    """The header's value, None where it is not sent. Raises InvalidRequest."""
    text = exchange.headers.get(name.lower())
    if text is None:
        return None
    try:
        value = math.nan if "_" in text else float(text)  # 1_0 is a number to Python alone
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:  # NaN is not
        raise InvalidRequest(f"{name} {wanted}.", param=name)
    return value
