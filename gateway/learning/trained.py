"""Predicts with the artifact in use, else with running means."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.fairness.units import KvTokenTime
from gateway.fairness.virtual_clock import MAX_COST
from gateway.learning.means import RunningMeans
from gateway.ports import FirstCall, MeanCost, Prediction, Progress

_MAX_LOG_COST = math.log(MAX_COST)


class CostModel(Protocol):
    """`predictor.model.CostModel`, which the gateway does not import. `Any`: its Features and Progress."""

    def quantiles(self, asked: Sequence[Any]) -> Any:
        """(n, 3) of log cost: the 10th, 50th and 90th percentile."""
        ...

    def refined(self, asked: Any, progress: Any) -> Any:
        """(3,) of the log of the total, knowing how far it has come."""
        ...


class Artifact(Protocol):
    version: str
    model: CostModel
    about: Mapping[str, Any]


class UnusableArtifact(Exception):
    """Why, in one line."""


@dataclass(frozen=True, slots=True)
class Toolkit:
    """What the package `predictor` does for the gateway."""

    features_of: Callable[..., Any]
    progress_of: Callable[..., Any]
    loads: Callable[[bytes], Artifact]
    """Raises UnusableArtifact."""


class TrainedPredictor:
    """A `gateway.ports.CostPredictor`."""

    def __init__(self, toolkit: Toolkit, default_cost: KvTokenTime, *, keeps_words: bool) -> None:
        self.means = RunningMeans()
        """Of what closed, as far as this process knows."""
        self.artifact: Artifact | None = None
        self._toolkit = toolkit
        self._default_cost = default_cost
        self._keeps_words = keeps_words

    async def predict(self, call: FirstCall, mean_cost: MeanCost) -> Prediction:
        if not call.prompt_tokens and not call.text:  # declared ahead of its first call: nothing is known but its kind
            return await self._mean(call.kind, mean_cost)
        features = self._toolkit.features_of(
            kind=call.kind,
            text=call.text,
            prompt_tokens=call.prompt_tokens,
            max_tokens=call.max_tokens,
            num_tools=call.num_tools,
            facts={"tenant": call.tenant, "model": call.model},
        )
        if self.artifact is None:
            return replace(await self._mean(call.kind, mean_cost), basis=features)
        return said_by(self.artifact, features)

    async def _mean(self, kind: str, mean_cost: MeanCost) -> Prediction:
        # The history's mean of the kind first: a store that lives in the process has forgotten it after a restart.
        mean = self.means.of_kind(kind)
        if mean is None:
            mean = await mean_cost(kind) or self.means.of_all()
        return Prediction(self._default_cost, "default") if mean is None else Prediction(mean, "mean")

    async def again(self, first: Prediction, kind: str, mean_cost: MeanCost) -> Prediction:
        if self.artifact is None or first.basis is None:
            return replace(await self._mean(kind, mean_cost), basis=first.basis)
        return said_by(self.artifact, first.basis)

    def refine(self, first: Prediction, progress: Progress) -> Prediction:
        if self.artifact is None or first.basis is None:
            return first
        came = self._toolkit.progress_of(
            num_ended=progress.num_ended,
            num_open=progress.num_open,
            open_prompt_tokens=progress.open_prompt_tokens,
            service=progress.service,
        )
        return _prediction(self.artifact, first.basis, self.artifact.model.refined(first.basis, came))

    def kept(self, prediction: Prediction) -> Mapping[str, object] | None:
        features: Any = prediction.basis
        if features is None:
            return None
        if not self._keeps_words:
            features = features.without_words()
        kept: Mapping[str, object] = features.as_json()
        return kept


def said_by(artifact: Artifact, features: object) -> Prediction:
    [quantiles] = artifact.model.quantiles([features])
    return _prediction(artifact, features, quantiles)


def _prediction(artifact: Artifact, features: object, log_costs: Sequence[float]) -> Prediction:
    low, middle, high = (KvTokenTime(math.exp(min(float(log_cost), _MAX_LOG_COST))) for log_cost in log_costs)
    return Prediction(middle, artifact.version, low, high, features)
