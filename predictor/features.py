"""What the predictor is told of an application: numbers, and hashes of words. The text itself goes no further.

Everything here is bounded, whatever the text: at most MAX_CHARACTERS of it are read, at most MAX_WORDS words are kept.
Standard library only, so that a gateway without the predictor can write down what a later training needs.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from typing import Any
from zlib import crc32

MAX_CHARACTERS = 4096
"""Of a text, from its beginning: bounds the time that a hostile prompt can take."""
MAX_WORDS = 512
"""Different ones, the first of them: a text of MAX_CHARACTERS in a human language has some 300."""
MAX_FACTS = 16
MAX_KIND_CHARACTERS = 256
MAX_COUNT = 10**12
"""Of anything that is counted: no real prompt comes near, and float64 has every whole number up to it."""
MAX_SERVICE = 1e24
"""token·iterations: a thousand calls of a billion tokens each stay below."""
NUM_LENGTHS = 5

_MAX_HASH = 2**32 - 1
_IN_WORDS = bytes(byte if byte >= 128 or re.match(r"\w", chr(byte)) else ord(" ") for byte in bytes(range(256)).lower())
"""Every byte of UTF-8 as it stands in a word, ASCII lower-cased; a space where it stands in none."""
_PUNCTUATION = re.compile(rb"\xc2[\x80-\xbf]|\xe2[\x80\x81][\x80-\xbf]|\xe3\x80[\x80-\xbf]")
"""Beyond ASCII, in UTF-8: Latin-1's signs, dashes and quotation marks, the punctuation of East Asia."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known at an application's first call: numbers and hashes of words, no text."""

    kind: str
    prompt_tokens: int
    """Of the whole first prompt."""
    max_tokens: int | None
    """Of its completion, if the client set a limit."""
    num_tools: int
    lengths: tuple[float, ...]
    """Of the text, NUM_LENGTHS: log characters, log lines, log question marks, share of digits, log different words."""
    words: tuple[tuple[int, int], ...]
    """(crc32 of a lower-cased word, count), sorted by hash; at most MAX_WORDS, the first of the text."""
    facts: tuple[int, ...] = ()
    """crc32 of what else is known (tenant, model): words that no text can contain. Sorted."""

    @classmethod
    def of(
        cls,
        *,
        kind: str,
        text: str,
        prompt_tokens: int,
        max_tokens: int | None = None,
        num_tools: int = 0,
        facts: Mapping[str, str] = {},
    ) -> "Features":
        """Takes anything: numbers are brought within their bounds. `text` without what every run of a kind has."""
        read = text[:MAX_CHARACTERS]
        words = Counter(map(crc32, _words(read)))
        return cls(
            kind[:MAX_KIND_CHARACTERS],
            _within(prompt_tokens),
            None if max_tokens is None else _within(max_tokens),
            _within(num_tools),
            (
                math.log1p(len(text)),
                math.log1p(read.count("\n")),
                math.log1p(read.count("?")),
                _num_digits(read) / max(1, len(read)),
                math.log1p(len(words)),
            ),
            tuple(sorted(islice(words.items(), MAX_WORDS))),
            tuple(sorted({_fact(name, value) for name, value in facts.items()})[:MAX_FACTS]),
        )

    def without_words(self) -> "Features":
        """For those who must not keep even hashes of what was asked; facts and lengths stay."""
        return replace(self, words=())

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "lengths": [round(length, 6) for length in self.lengths],
            "words": [list(word) for word in self.words],
            "facts": list(self.facts),
        }

    @classmethod
    def from_json(cls, raw: object) -> "Features":
        """Raises ValueError, one line, for anything that `as_json` does not write."""
        fields = _fields(
            raw, "features", {"kind", "prompt_tokens", "max_tokens", "num_tools", "lengths", "words", "facts"}
        )
        kind, max_tokens = fields["kind"], fields["max_tokens"]
        if not isinstance(kind, str) or len(kind) > MAX_KIND_CHARACTERS:
            raise ValueError(f"kind is no text of at most {MAX_KIND_CHARACTERS} characters")
        lengths = tuple(
            _number(length, "lengths", 100.0) for length in _list(fields["lengths"], "lengths", NUM_LENGTHS)
        )
        if len(lengths) != NUM_LENGTHS:
            raise ValueError(f"lengths are {len(lengths)}, not {NUM_LENGTHS}")
        words = tuple(_word(pair) for pair in _list(fields["words"], "words", MAX_WORDS))
        facts = tuple(_count(fact, "facts", _MAX_HASH) for fact in _list(fields["facts"], "facts", MAX_FACTS))
        if any(one[0] >= other[0] for one, other in pairwise(words)):
            raise ValueError("words are not sorted by hash")
        if any(one >= other for one, other in pairwise(facts)):
            raise ValueError("facts are not sorted")
        return cls(
            kind,
            _count(fields["prompt_tokens"], "prompt_tokens"),
            None if max_tokens is None else _count(max_tokens, "max_tokens"),
            _count(fields["num_tools"], "num_tools"),
            lengths,
            words,
            facts,
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an application has come, when one of its calls has ended."""

    num_ended: int
    num_open: int
    """Calls known to the gateway that wait or run."""
    open_prompt_tokens: int
    """Their prompts' tokens, together."""
    service: float
    """token·iterations that the ended ones held."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: object) -> "Progress":
        """Raises ValueError, one line."""
        fields = _fields(raw, "progress", {"num_ended", "num_open", "open_prompt_tokens", "service"})
        return cls(
            _count(fields["num_ended"], "num_ended"),
            _count(fields["num_open"], "num_open"),
            _count(fields["open_prompt_tokens"], "open_prompt_tokens"),
            _number(fields["service"], "service", MAX_SERVICE),
        )


def _words(text: str) -> list[bytes]:
    """Lower-cased, in UTF-8: letters, digits, underscores and most of what is beyond ASCII, in a row. Of bytes, because
    that is three times faster than of characters."""
    if text.isascii():
        return text.encode().translate(_IN_WORDS).split()
    # Half an emoji is a str that UTF-8 does not have; JSON can bring one.
    return _PUNCTUATION.sub(b" ", text.lower().encode("utf-8", "surrogatepass")).translate(_IN_WORDS).split()


def _num_digits(text: str) -> int:
    """ASCII's, with which nearly all numbers are written."""
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded) - len(encoded.translate(None, b"0123456789"))


def _fact(name: str, value: str) -> int:
    return crc32(f"\0{name}={value[:MAX_KIND_CHARACTERS]}".encode("utf-8", "surrogatepass"))


def _within(count: int) -> int:
    return min(max(0, count), MAX_COUNT)


def _fields(raw: object, what: str, names: set[str]) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise ValueError(f"{what} are no JSON object")
    if missing := names - raw.keys():
        raise ValueError(f"{what} lack {min(missing)}")
    if len(raw) > len(names):
        raise ValueError(f"{what} have fields that are not known")
    return raw


def _list(raw: object, name: str, longest: int) -> list[object]:
    if not isinstance(raw, list):
        raise ValueError(f"{name} are no list")
    if len(raw) > longest:
        raise ValueError(f"{name} are {len(raw)}, more than {longest}")
    return raw


def _word(raw: object) -> tuple[int, int]:
    pair = _list(raw, "a word", 2)
    if len(pair) != 2:
        raise ValueError("a word is no pair of hash and count")
    return _count(pair[0], "words", _MAX_HASH), _count(pair[1], "words", MAX_CHARACTERS)


def _count(raw: object, name: str, most: int = MAX_COUNT) -> int:
    if type(raw) is not int:  # a bool is no count
        raise ValueError(f"{name}: no whole number")
    if not 0 <= raw <= most:
        raise ValueError(f"{name}: not between 0 and {most}")
    return raw


def _number(raw: object, name: str, most: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"{name}: no number")
    if not 0 <= raw <= most:  # NaN is not
        raise ValueError(f"{name}: not between 0 and {most:g}")
    return float(raw)
