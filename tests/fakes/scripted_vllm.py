"""A vLLM whose model follows a script: the real protocols, with the tool calls that random weights never make.

async with ScriptedVllm(calls("search", query="fair"), says("Found it.")) as engine:
    …any client…
    assert engine.applications() == {"anonymous/demo"}

The script is a list of turns, and a conversation tells by itself how far it has come: by the number of the model's
answers it holds. So many programs may follow the script at once, and a client that forgets an answer is told the same
again. After the last turn, the last is repeated.
"""

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from tests.fakes.engine import Conversation, FakeVllm, Received, answers
from tests.fakes.protocols import chat, messages, responses
from tests.fakes.protocols.turns import Answer, Body, Turn, says

MODEL = "tiny"


class BadRequest(Exception):
    def __init__(self, status: int, kind: str, text: str, param: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.param = param


class ScriptedVllm(FakeVllm):
    def __init__(self, *turns: Turn, is_patched: bool = True) -> None:
        super().__init__((MODEL,), is_patched=is_patched)
        self.turns = turns
        self.on_call = self._serve
        self.responses: dict[str, Body] = {}
        """By id, with how many answers their chains hold (vLLM's VLLM_ENABLE_RESPONSES_API_STORE=1)."""
        self._chains: dict[str, int] = {}
        self._posts = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/responses": self._response,
            "/v1/messages": self._message,
            "/v1/messages/count_tokens": self._count,
            "/v1/embeddings": self._embeddings,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }

    def applications(self, path: str = "/v1/") -> set[str | None]:
        """Which applications the calls to `path…` were sent for."""
        return {call.header("x-session-id") for call in self.calls if call.path.startswith(path)}

    async def _serve(self, conversation: Conversation) -> None:
        request = conversation.request
        path = request.path.partition("?")[0]
        try:
            if path.startswith("/v1/responses/"):
                await answers(self._stored(request.method, path))(conversation)
            elif request.method == "POST" and path in self._posts:
                body = request.json()
                _check_model(body)
                await self._posts[path](conversation, body)
            else:
                await answers({"detail": "Not Found"}, 404)(conversation)
        except BadRequest as error:
            await answers(_error_body(path, error), error.status)(conversation)

    # --- one route each ---------------------------------------------------------------------------------------------

    async def _chat(self, conversation: Conversation, body: Body) -> None:
        answer = self._answer_to("chatcmpl-", body, self._turn(chat.num_answers(body), chat.tools_of(body)))
        tells_usage = (body.get("stream_options") or {}).get("include_usage", False)
        events = chat.chunks(answer, tells_usage=tells_usage) if body.get("stream") else None
        await self._send(conversation, answer, events, chat.completion(answer))

    async def _completion(self, conversation: Conversation, body: Body) -> None:
        answer = self._answer_to("cmpl-", body, says(self.turns[-1].text))
        tells_usage = (body.get("stream_options") or {}).get("include_usage", False)
        events = chat.text_chunks(answer, tells_usage=tells_usage) if body.get("stream") else None
        await self._send(conversation, answer, events, chat.text_completion(answer))

    async def _message(self, conversation: Conversation, body: Body) -> None:
        answer = self._answer_to("chatcmpl-", body, self._turn(messages.num_answers(body), messages.tools_of(body)))
        events = messages.events(answer) if body.get("stream") else None
        await self._send(conversation, answer, events, messages.message(answer))

    async def _response(self, conversation: Conversation, body: Body) -> None:
        earlier = body.get("previous_response_id")
        if earlier is not None and earlier not in self._chains:
            raise _no_response(earlier)
        num_answers = responses.num_answers(body) + self._chains.get(earlier or "", 0)
        answer = self._answer_to("resp_", body, self._turn(num_answers, responses.tools_of(body)))
        if body.get("background"):
            # It waits to be cancelled: nobody runs it.
            queued = self._keep(responses.response(answer, body, [], "queued"), num_answers)
            return await answers(queued)(conversation)
        output = responses.output_of(answer)
        whole = responses.response(answer, body, output)
        if body.get("store", True):
            self._keep(whole, num_answers + 1)
        events = responses.events(answer, body, output) if body.get("stream") else None
        return await self._send(conversation, answer, events, whole)

    async def _count(self, conversation: Conversation, body: Body) -> None:
        await answers(messages.count(self._answer_to("", body, Turn())))(conversation)

    async def _embeddings(self, conversation: Conversation, body: Body) -> None:
        answer = self._answer_to("embd-", body, Turn())
        await self._send(conversation, answer, None, chat.embeddings(answer, body))

    async def _tokenize(self, conversation: Conversation, body: Body) -> None:
        """A token is a byte."""
        tokens = list((body["prompt"] if "prompt" in body else json.dumps(body["messages"])).encode())
        content = {"count": len(tokens), "max_model_len": 4096, "tokens": tokens, "token_strs": None}
        await answers(content)(conversation)

    async def _detokenize(self, conversation: Conversation, body: Body) -> None:
        await answers({"prompt": bytes(body["tokens"]).decode("utf-8", "replace")})(conversation)

    # --- the script -------------------------------------------------------------------------------------------------

    def _turn(self, num_answers: int, tools: set[str]) -> Turn:
        turn = self.turns[min(num_answers, len(self.turns) - 1)]
        missing = {call.name for call in turn.tool_calls} - tools
        if missing:
            raise BadRequest(400, "BadRequestError", f"the script calls tools that were not offered: {missing}")
        return turn

    def _answer_to(self, prefix: str, body: Body, turn: Turn) -> Answer:
        return Answer(turn.with_new_ids(), f"{prefix}{uuid4().hex[:16]}", MODEL, _prompt_tokens(body))

    async def _send(
        self, conversation: Conversation, answer: Answer, events: Iterable[bytes] | None, whole: Body
    ) -> None:
        if events is None:
            await answers(whole)(conversation)
        else:
            await conversation.begin_stream()
            for event in events:
                await conversation.chunk(event)
            await conversation.end_stream()
        self._record(conversation.request, answer)

    def _record(self, request: Received, answer: Answer) -> None:
        """What the patch tells of a call that has ended."""
        prompt, output = answer.prompt_tokens, answer.turn.num_tokens
        service = prompt * output + output * (output + 1) / 2
        self.service += service
        self.finished.append(
            {
                "sequence": len(self.finished),
                "call_id": request.header("x-request-id") or answer.id,
                "service": service,
                "prompt_tokens": prompt,
                "cached_tokens": 0,
                "output_tokens": output,
                "preemptions": 0,
            }
        )

    # --- stored responses -------------------------------------------------------------------------------------------

    def _keep(self, response: Body, num_answers: int) -> Body:
        self.responses[response["id"]] = response
        self._chains[response["id"]] = num_answers
        return response

    def _stored(self, method: str, path: str) -> Body:
        response_id, _, verb = path.removeprefix("/v1/responses/").partition("/")
        if response_id not in self.responses:
            raise _no_response(response_id)
        stored = self.responses[response_id]
        match method, verb:
            case "GET", "":
                return stored
            case "POST", "cancel":
                if stored["status"] != "queued":
                    text = "Cannot cancel a synchronous response."
                    raise BadRequest(400, "invalid_request_error", text, "response_id")
                stored["status"] = "cancelled"
                return stored
        raise BadRequest(404, "Not Found", "Not Found")


def _check_model(body: Body) -> None:
    if body.get("model", MODEL) != MODEL:
        text = f"The model `{body['model']}` does not exist. Valid aliases: {MODEL}."
        raise BadRequest(404, "NotFoundError", text, "model")


def _no_response(response_id: str) -> BadRequest:
    text = f"Response with id '{response_id}' not found."
    return BadRequest(404, "invalid_request_error", text, "response_id")


def _error_body(path: str, error: BadRequest) -> Any:
    if path.startswith("/v1/messages"):
        return messages.error(error.kind, str(error))
    return {"error": {"message": str(error), "type": error.kind, "param": error.param, "code": error.status}}


def _prompt_tokens(body: Body) -> int:
    prompt = [body.get(key) for key in ("system", "messages", "prompt", "instructions", "input", "tools")]
    return 1 + len(json.dumps(prompt)) // 4
