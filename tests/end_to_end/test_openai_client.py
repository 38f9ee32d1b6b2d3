"""The OpenAI client, unmodified, running a program of several steps against the real engine."""

import asyncio

import openai
import pytest

from tests.fakes.running_gateway import RunningGateway

pytestmark = pytest.mark.engine


def client_of(gateway: RunningGateway, application: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/apps/{application}/runs/1/v1", api_key="anything", max_retries=0)


async def test_a_program_of_several_steps_is_one_application(gateway: RunningGateway) -> None:
    async with client_of(gateway, "summary") as client:
        models = [model.id async for model in client.models.list()]
        assert models == ["tiny"]

        async def summarise(part: str) -> str:
            answer = await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": f"Summarise: {part}"}], max_tokens=8
            )
            assert answer.usage is not None
            return answer.choices[0].message.content or ""

        parts = await asyncio.gather(*(summarise(f"part {i}") for i in range(4)))
        stream = await client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Merge: " + "; ".join(parts)}],
            max_tokens=8,
            stream=True,
        )
        chunks = [chunk async for chunk in stream]
        assert all(chunk.usage is None for chunk in chunks)  # nobody asked for it
        assert chunks[-1].choices[0].finish_reason is not None
        with_usage = await client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Again"}],
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        last = [chunk async for chunk in with_usage][-1]
        assert last.usage is not None
        assert last.usage.completion_tokens > 0
    async with gateway.client(headers={"authorization": "Bearer anything"}) as http:
        described = (await http.get("/v1/applications/summary:1")).json()
        assert described["kind"] == "summary"
        closed = (await http.post("/v1/applications/summary:1/close")).json()
        assert closed["service"] > 0
        stranger = await http.get("/v1/applications/summary:1", headers={"authorization": "Bearer another"})
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (404, "application_not_found")


async def test_an_engines_own_error_reaches_the_client_as_it_is(gateway: RunningGateway) -> None:
    async with client_of(gateway, "long") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "word " * 3000}], max_tokens=5
            )
        assert "maximum" in str(caught.value)
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(
                model="unknown", messages=[{"role": "user", "content": "hi"}], max_tokens=5
            )
        assert unknown.value.code == "model_not_found"
