"""What is kept of a first call, and what is refused when it is read back."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest

from predictor.features import MAX_CHARACTERS, MAX_COUNT, MAX_WORDS, Features, Progress

ASKED = Features.of(
    kind="chat",
    text="Which of the 12 papers?\nThe papers, please",
    prompt_tokens=40,
    max_tokens=100,
    num_tools=2,
    facts={"tenant": "a", "model": "m"},
)
PROGRESS = Progress(3, 2, 900, 1234.5)


def test_words_are_counted_by_the_hash_of_their_lower_case() -> None:
    words = dict(ASKED.words)
    assert words[crc32(b"papers")] == words[crc32(b"the")] == 2
    assert len(words) == 6
    assert list(words) == sorted(words)


def test_letters_beyond_ascii_are_words_too() -> None:
    mixed = Features.of(kind="k", text="Größe ÜBER 你好 papers, 12 _x", prompt_tokens=1)
    assert {key for key, _ in mixed.words} == {
        crc32(word.encode()) for word in ("größe", "über", "你好", "papers", "12", "_x")
    }


def test_ascii_is_split_as_other_texts_are() -> None:
    text = "A b_c, d-e\x00f\t12.5 it's\x7f"
    plain, other = (Features.of(kind="k", text=each, prompt_tokens=1).words for each in (text, text + " é"))
    assert dict(other).items() - dict(plain).items() == {(crc32("é".encode()), 1)}


def test_punctuation_beyond_ascii_is_not_part_of_a_word() -> None:
    plain, set_in_type = (
        Features.of(kind="k", text=text, prompt_tokens=1).words
        for text in ('he said "no" - papers...', "he\u00a0said \u201cno\u201d \u2014 \u300cpapers\u300d\u2026")
    )
    assert plain == set_in_type


def test_facts_are_words_that_no_text_can_contain() -> None:
    assert len(ASKED.facts) == 2
    said = Features.of(kind="chat", text="tenant=a \0tenant=a", prompt_tokens=1)
    assert not {key for key, _ in said.words} & set(ASKED.facts)
    assert ASKED.without_words() == replace(ASKED, words=())


def test_text_beyond_the_limit_counts_only_in_length() -> None:
    long = "word " * MAX_CHARACTERS
    one, other = (Features.of(kind="k", text=long + tail, prompt_tokens=1) for tail in ("papers 1?", "letters\n?"))
    assert one == other
    many = Features.of(kind="k", text=" ".join(map(str, range(100000))), prompt_tokens=1)
    assert len(many.words) == MAX_WORDS


def test_numbers_are_brought_within_bounds() -> None:
    odd = Features.of(kind="k" * 10**6, text="", prompt_tokens=-5, max_tokens=10**400, num_tools=-1)
    assert (odd.prompt_tokens, odd.max_tokens, odd.num_tools) == (0, MAX_COUNT, 0)
    assert Features.from_json(odd.as_json()) == odd


def test_a_huge_text_takes_no_time() -> None:
    for text in ("x" * 50_000_000, "\ud83d\x00😀 " * 5_000_000):
        began = time.process_time()
        Features.of(kind="k", text=text, prompt_tokens=1)
        assert time.process_time() - began < 0.1


def test_json_and_back() -> None:
    back = Features.from_json(json.loads(json.dumps(ASKED.as_json())))
    assert back == replace(ASKED, lengths=back.lengths)
    assert back.lengths == pytest.approx(ASKED.lengths, abs=1e-6)
    assert Progress.from_json(json.loads(json.dumps(PROGRESS.as_json()))) == PROGRESS


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": 3},
        {"kind": "k" * 1000},
        {"prompt_tokens": -1},
        {"prompt_tokens": 10**400},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": True},
        {"max_tokens": "10"},
        {"lengths": [1.0]},
        {"lengths": [float("nan")] * 5},
        {"lengths": [1.0, 1.0, 1.0, 1.0, float("inf")]},
        {"lengths": None},
        {"words": [[1, 1]] * 10**6},
        {"words": [[2, 1], [1, 1]]},
        {"words": [[1, 1], [1, 2]]},
        {"words": [[1]]},
        {"words": [[-1, 1]]},
        {"words": [[2**32, 1]]},
        {"words": {}},
        {"facts": list(range(1000))},
        {"facts": [2, 1]},
        {"text": "what was asked"},
    ],
)
def test_malformed_features_are_refused_in_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{5,100}$"):
        Features.from_json({**ASKED.as_json(), **wrong})


@pytest.mark.parametrize("field", ASKED.as_json())
def test_no_field_may_be_missing(field: str) -> None:
    raw = ASKED.as_json()
    del raw[field]
    with pytest.raises(ValueError, match=field):
        Features.from_json(raw)


@pytest.mark.parametrize("raw", [None, [], "x", 1, {}, {"num_ended": 1}])
def test_what_is_no_object_is_refused(raw: object) -> None:
    for read in (Features.from_json, Progress.from_json):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            read(raw)


@pytest.mark.parametrize("wrong", [{"num_ended": -1}, {"service": float("nan")}, {"service": 1e300}, {"num_open": 2.0}])
def test_malformed_progress_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Progress.from_json({**PROGRESS.as_json(), **wrong})


def test_writing_features_down_needs_the_standard_library_only() -> None:
    code = "import sys, predictor.features, predictor.examples; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
