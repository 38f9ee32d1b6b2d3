"""From recorded calls to requests: prompts in words, lengths in the tokens of the model at hand.

A prompt is a chain: the messages that each call of the chain appended, with the *recorded* completions between them as
the assistant's turns. What the model at hand really answers is thrown away, so that every run sends the same prompts.

- Where the recording has its text, the text is sent and counted anew: another tokenizer finds other lengths.
- Where it has only lengths, the text is made of plain words, as many as give the recorded length (within a few
  percent).
- A prompt that would not leave room for its completion loses its end. Its beginning stays, and with it the prefix that
  it shares with other calls.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.fairness.cost import application_cost
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.workloads.traces import Message, RecordedApplication, RecordedCall
from gateway.workloads.workload import Workload

_VOCABULARY = (
    "time people way water word part number place sound year work back thing name sentence line set end home hand "
    "picture air land house page letter point mother answer study plant food sun state tree city earth eye thought "
    "head story example paper group music side mile river car foot second book room friend idea fish mountain north"
)

_MAX_INPUT_CHARS = 200
"""Of an application's own text at the head of a made prompt: short in any tokenizer."""

_ROLE_OF_EMPTY = {"role": "user", "content": ""}


class Tokenizer(Protocol):
    """The tokenizer and chat template of the model at hand."""

    async def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that these messages become, the opening of the answer included."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One request. Lengths are exact, in the tokens of the model at hand."""

    call_id: int
    after: tuple[int, ...]
    delay_s: float
    messages: tuple[Message, ...]
    prompt_tokens: Tokens
    output_tokens: Tokens
    is_clipped: bool


@dataclass(frozen=True, slots=True)
class PreparedApplication:
    app_id: str
    kind: str
    arrival_s: float
    """From the start of a run."""
    calls: tuple[PreparedCall, ...]

    @property
    def cost(self) -> KvTokenTime:
        """What all its calls will hold: token·iterations, by the formula."""
        return application_cost((call.prompt_tokens, call.output_tokens) for call in self.calls)


async def prepared(
    workload: Workload,
    tokenizer: Tokenizer,
    max_model_len: int,
    time_scale: float,
    progress: Callable[[], None],
) -> tuple[PreparedApplication, ...]:
    """The whole workload as requests. `time_scale` stretches the recorded delays; `progress` is told of each call."""
    words_per_token = await _words_per_token(tokenizer)
    applications = []
    for application, arrival_s in zip(workload.applications, workload.arrivals_s, strict=True):
        chains = _chains(application, words_per_token)
        calls = []
        for call in application.calls:
            calls.append(await _prepared_call(call, chains[call.call_id], tokenizer, max_model_len, time_scale))
            progress()
        applications.append(PreparedApplication(application.app_id, application.kind, arrival_s, tuple(calls)))
    return tuple(applications)


async def _prepared_call(
    call: RecordedCall, messages: tuple[Message, ...], tokenizer: Tokenizer, max_model_len: int, time_scale: float
) -> PreparedCall:
    # Half the context is for the prompt, whatever the recorded completion: a call without a prompt is no call.
    output_tokens = min(call.completion_tokens, max_model_len // 2)
    room = max_model_len - output_tokens
    prompt_tokens = await tokenizer.count(messages)
    is_clipped = prompt_tokens > room or output_tokens < call.completion_tokens
    while prompt_tokens > room:
        # Two percent less than in proportion: the text's parts differ in tokens per character.
        num_chars = sum(len(message["content"]) for message in messages)
        messages = _beginning(messages, int(num_chars * 0.98 * room / prompt_tokens))
        prompt_tokens = await tokenizer.count(messages)
        if not any(message["content"] for message in messages) and prompt_tokens > room:
            raise PromptTooLong(f"the chat template alone needs {prompt_tokens} of {max_model_len} tokens")
    return PreparedCall(
        call.call_id,
        call.after,
        call.delay_s * time_scale,
        messages,
        Tokens(prompt_tokens),
        Tokens(output_tokens),
        is_clipped,
    )


class PromptTooLong(Exception):
    """No prompt fits this model's context."""


def _beginning(messages: Sequence[Message], num_chars: int) -> tuple[Message, ...]:
    """The first `num_chars` characters of the contents, in as many messages as they reach into."""
    kept: list[Message] = []
    for message in messages:
        if num_chars <= 0 and kept:
            break
        content = message["content"][: max(num_chars, 0)]
        num_chars -= len(message["content"])
        kept.append({"role": message["role"], "content": content})
    return tuple(kept)


def _chains(application: RecordedApplication, words_per_token: float) -> Mapping[int, tuple[Message, ...]]:
    """Each call's whole prompt. Calls stand in a runnable order, so the one extended is always there already."""
    by_id = {call.call_id: call for call in application.calls}
    chains: dict[int, tuple[Message, ...]] = {}
    for call in application.calls:
        earlier: tuple[Message, ...] = ()
        if call.extends is not None:
            parent = by_id[call.extends]
            earlier = (*chains[parent.call_id], _answer(application, parent, words_per_token))
        appended = call.append
        if appended is None:
            appended = _made_prompt(application, call, by_id, words_per_token)
        chains[call.call_id] = (*earlier, *appended) or (_ROLE_OF_EMPTY,)
    return chains


def _answer(application: RecordedApplication, call: RecordedCall, words_per_token: float) -> Message:
    if call.completion is not None:
        return {"role": "assistant", "content": call.completion}
    text = _made_text(f"{application.app_id}/{call.call_id}/answer", round(call.completion_tokens * words_per_token))
    return {"role": "assistant", "content": text}


def _made_prompt(
    application: RecordedApplication, call: RecordedCall, by_id: Mapping[int, RecordedCall], words_per_token: float
) -> tuple[Message, ...]:
    """What this call adds to the one it extends, or its whole prompt, at the recorded length."""
    new_tokens = call.prompt_tokens
    opening = f"{application.app_id}, call {call.call_id}."
    if call.extends is None:
        # Named first, so that prompts which were recorded as fresh ones share no prefix.
        opening += f" {(application.input_text or '')[:_MAX_INPUT_CHARS]}"
    else:
        parent = by_id[call.extends]
        new_tokens -= parent.prompt_tokens + parent.completion_tokens
        if new_tokens <= 0:
            return ()
    # An opening has about as many tokens as words and digits in it; a few too many or too few do not matter.
    num_words = round(new_tokens * words_per_token) - 2 * len(opening.split())
    text = _made_text(f"{application.app_id}/{call.call_id}/prompt", num_words)
    return ({"role": "user", "content": f"{opening} {text}"},)


def _made_text(name: str, num_words: int) -> str:
    """The same words for the same name, in every process."""
    return " ".join(random.Random(name).choices(_VOCABULARY.split(), k=max(num_words, 1)))


async def _words_per_token(tokenizer: Tokenizer) -> float:
    """Of made text, with the chat template's own tokens subtracted out."""
    shorter = await tokenizer.count([{"role": "user", "content": _made_text("measure", 200)}])
    longer = await tokenizer.count([{"role": "user", "content": _made_text("measure", 1200)}])
    return 1000 / max(longer - shorter, 1)
