"""The tiny model's folder, as transformers reads it."""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.tiny_model import MAX_MODEL_LEN, VOCABULARY_SIZE, cache_folder, ensure_tiny_model

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Search for wörds."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "search", "arguments": '{"q": "w"}'}}],
    },
    {"role": "tool", "content": "found 3"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("CI") is None:
        pytest.importorskip("tokenizers")
        pytest.importorskip("transformers")
    return ensure_tiny_model(tmp_path_factory.mktemp("cache") / "deep" / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        yield AutoTokenizer.from_pretrained(str(folder))


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    assert len(tokenizer) == VOCABULARY_SIZE
    for text in ["Hello, wörld!", '{"name": "search", "arguments": {"q": [1, 2]}}', "日本語 🎈\t\n  x", ""]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_english_is_not_spelt_letter_by_letter(tokenizer: Any) -> None:
    text = "The scheduler gives each application its fair share of the memory. " * 20
    assert len(tokenizer(text)["input_ids"]) < len(text) / 2


def test_no_token_ends_a_text(tokenizer: Any) -> None:
    assert tokenizer.eos_token_id is None


def test_every_role_is_in_the_prompt(tokenizer: Any) -> None:
    prompt = tokenizer.apply_chat_template(
        MESSAGES,
        tools=[{"type": "function", "function": {"name": "search"}}],
        tokenize=False,
        add_generation_prompt=True,
    )
    for expected in ["Be brief.", "Search for wörds.", '"arguments"', "found 3", '"search"']:
        assert expected in prompt
    assert prompt.endswith("<|im_start|>assistant\n")


def test_the_context_is_long_enough_for_agents(tokenizer: Any) -> None:
    assert tokenizer.model_max_length == MAX_MODEL_LEN


def test_it_is_made_once_even_by_several_at_a_time(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny"
    with ThreadPoolExecutor(3) as pool:
        assert {future.result() for future in [pool.submit(ensure_tiny_model, target) for _ in range(3)]} == {target}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    before = (target / "config.json").stat().st_mtime_ns
    ensure_tiny_model(target)
    assert (target / "config.json").stat().st_mtime_ns == before


def test_the_cache_is_where_the_desktop_standard_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder().parent == Path("/elsewhere/justitia")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder().parent == Path("/home/someone/.cache/justitia")
