"""What an application is going to cost."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.values import value


@value
class FirstCall:
    """What is known of an application when its first call arrives."""

    kind: str
    tenant: str
    model: str
    prompt_tokens: Tokens
    """Estimated from the length of the body."""
    max_tokens: Tokens | None
    text: str = ""
    """What is asked: the end of the prompt, without what every run of the kind has. Never kept."""
    num_tools: int = 0


@value
class Progress:
    """How far an application has come when one of its calls has ended."""

    num_ended: int
    num_open: int
    """Its calls that this gateway knows to wait or to run."""
    open_prompt_tokens: Tokens
    """Of those, together."""
    service: KvTokenTime
    """What the ended ones held."""


@value
class Prediction:
    """What an application is going to cost in all. `low` and `high` hold the true cost in four cases of five, and are
    None where nobody knows how wrong `cost` may be."""

    cost: KvTokenTime
    predictor: str
    """A trained one's version, or `mean`, `default`, `declared`."""
    low: KvTokenTime | None = None
    high: KvTokenTime | None = None
    basis: object = None
    """What it was predicted from, in its predictor's own form; None: nothing that could be learnt from."""


MeanCost = Callable[[str], Awaitable[KvTokenTime | None]]
"""`StateStore.mean_cost`, or what stands before it."""


class CostPredictor(Protocol):
    async def predict(self, call: FirstCall, mean_cost: MeanCost) -> Prediction:
        """Raises what `mean_cost` raises, if it has to ask."""
        ...

    async def again(self, first: Prediction, kind: str, mean_cost: MeanCost) -> Prediction:
        """What it says by now of an application of which it knew no better than a mean, or nothing. Raises what
        `mean_cost` raises, if it has to ask."""
        ...

    def refine(self, first: Prediction, progress: Progress) -> Prediction:
        """Knowing how far it has come since `first`; `first` itself where nothing is to be learnt from that."""
        ...

    def kept(self, prediction: Prediction) -> Mapping[str, object] | None:
        """Its basis as it may be kept and learnt from: JSON, no text. None without one."""
        ...
