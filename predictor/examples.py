"""What is known of an application at its first call, and what it turned out to cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    kind: str
    text: str
    """Of the first call: what was asked, without what every run of the kind has (a system prompt)."""
    prompt_tokens: int
    """Of the whole first prompt."""
    cost: float = 1.0
    """KV token-time, token·iterations; more than 0. Of no meaning where it is to be predicted."""
    task: str = ""
    """Runs of one task are never in different folds; empty: a task of its own."""
