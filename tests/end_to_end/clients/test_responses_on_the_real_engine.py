"""Responses that the real vLLM keeps (VLLM_ENABLE_RESPONSES_API_STORE=1): continued, read again, made in the background
and cancelled by the OpenAI library."""

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.end_to_end.clients.fronts import RealFront
from tests.end_to_end.clients.grouping import CHAIN, FOLLOW_UP, HEADER, PATH, QUESTION, Way, by_rule
from tests.end_to_end.clients.test_real_engine import END, FLAT_SEARCH, LONGEST
from tests.fakes.waiting import until

pytestmark = pytest.mark.engine

FEW = 5


async def respond(client: AsyncOpenAI, *, is_streamed: bool = False, **asked: Any) -> Any:
    asked = {"model": "tiny", "max_output_tokens": FEW} | asked
    if not is_streamed:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        return await stream.get_final_response()


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("way", [CHAIN, PATH, HEADER], ids=by_rule)
async def test_a_chain_is_one_application_and_the_engine_remembers_it(
    real_front: RealFront, way: Way, is_streamed: bool
) -> None:
    forced: Any = {"tools": [FLAT_SEARCH], "tool_choice": {"type": "function", "name": "search"}}
    limits = {"stop": [END], "logit_bias": real_front.no_blanks()}
    async with AsyncOpenAI(**real_front.openai(way)) as client:
        called = await respond(
            client, is_streamed=is_streamed, input=QUESTION, **forced, max_output_tokens=LONGEST, extra_body=limits
        )
        (call,) = called.output
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "found"}
        said = [await respond(client, is_streamed=is_streamed, input=[result], previous_response_id=called.id)]
        for _ in range(2):
            earlier = said[-1].id
            said.append(await respond(client, is_streamed=is_streamed, input=FOLLOW_UP, previous_response_id=earlier))
            assert said[-1].previous_response_id == earlier
        prompts = [one.usage.input_tokens for one in said]
        assert prompts[0] < prompts[1] < prompts[2]  # each sends no more than the one before
        read_again = await client.responses.retrieve(said[-1].id)
        assert (read_again.id, read_again.output_text) == (said[-1].id, said[-1].output_text)
    real_front.check_one_application(way, num_calls=4)


async def test_two_chains_from_one_response_are_one_application(real_front: RealFront) -> None:
    async with AsyncOpenAI(**real_front.openai(CHAIN)) as client:
        first = await respond(client, input=QUESTION)
        branches = [await respond(client, input=FOLLOW_UP, previous_response_id=first.id) for _ in range(2)]
        assert branches[0].id != branches[1].id
        other = await respond(client, input=QUESTION)  # which continues nothing
        await respond(client, input=FOLLOW_UP, previous_response_id=other.id)
    assert len(real_front.applications()) == 2


async def test_a_conversation_is_one_application_and_the_engine_forgets_it(real_front: RealFront) -> None:
    """vLLM has no conversations: it takes the field and ignores it, so a client must send what was said."""
    way = Way("body", application="conv_1")
    async with AsyncOpenAI(**real_front.openai(way)) as client:
        said = [await respond(client, input=QUESTION, conversation="conv_1") for _ in range(2)]
        assert said[0].usage.input_tokens == said[1].usage.input_tokens
        with pytest.raises(openai.NotFoundError):
            await client.conversations.create()
    real_front.check_one_application(way, num_calls=2)


async def test_in_the_background_it_is_charged_when_it_has_run(real_front: RealFront) -> None:
    """Its HTTP exchange ends at once: what it holds from then on, only the engine can tell."""
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        queued = await respond(client, input=QUESTION, background=True, max_output_tokens=50)
        assert queued.status == "queued"

        async def has_ended() -> bool:
            return (await client.responses.retrieve(queued.id)).status not in ("queued", "in_progress")

        await until(has_ended)
        assert len((await client.responses.retrieve(queued.id)).output_text) > 0
        await respond(client, input=FOLLOW_UP, previous_response_id=queued.id)
    real_front.check_one_application(PATH, num_calls=2)

    async def is_charged() -> bool:
        return real_front.service() > 50 * 50 / 2  # 50 iterations, each with the tokens before it

    await until(is_charged)


async def test_in_the_background_it_is_cancelled(real_front: RealFront) -> None:
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        queued = await respond(client, input=QUESTION, background=True, max_output_tokens=900)
        assert (await client.responses.cancel(queued.id)).status == "cancelled"
        assert (await client.responses.retrieve(queued.id)).status == "cancelled"
        ended = await respond(client, input=QUESTION)
        with pytest.raises(openai.BadRequestError, match="Cannot cancel"):  # the engine's own
            await client.responses.cancel(ended.id)

    async def is_idle() -> bool:
        async with real_front.engine.client() as engine:
            state = (await engine.get("/justitia/state")).json()
        return bool(state["num_running"] == 0 and state["free_kv_tokens"] == state["capacity_kv_tokens"])

    await until(is_idle)


async def test_what_is_not_there_is_named_by_the_engines_own_error(real_front: RealFront) -> None:
    async with AsyncOpenAI(**real_front.openai(PATH)) as client:
        for ask in (
            client.responses.retrieve("resp_unknown"),
            client.responses.cancel("resp_unknown"),
            respond(client, input="Hi", previous_response_id="resp_unknown"),
        ):
            with pytest.raises(openai.NotFoundError, match="'resp_unknown' not found") as caught:
                await ask
            assert caught.value.param == "response_id"
