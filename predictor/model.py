"""What the gateway asks: what an application will cost, at its first call and again as its calls end.

numpy alone; a prediction takes a fraction of a millisecond.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictor.encoding import Array
from predictor.estimate import Estimate
from predictor.features import Features, Progress
from predictor.network import Network
from predictor.refinement import Refinement
from predictor.regression import QUANTILES

__all__ = ["QUANTILES", "CostModel"]


@dataclass(frozen=True, slots=True)
class CostModel:
    estimate: Estimate
    refinement: Refinement
    network: Network | None = None
    """Where there is one, the middle of first estimates is its answer; how sure that is, still the kernel's."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those it was trained on; others are answered from all of them together."""
        return self.estimate.encoding.kinds

    def quantiles(self, asked: Sequence[Features]) -> Array:
        """(n, 3) of log cost, never falling along a row; finite for anything."""
        if not asked:
            return np.empty((0, len(QUANTILES)))
        found = self.estimate.quantiles(asked)
        return found if self.network is None else found + (self.network.log_costs(asked) - found[:, 1])[:, None]

    def refined(self, asked: Features, progress: Progress) -> Array:
        """(3,) of log total cost, none below the log of the service so far."""
        return self.refined_from(asked, self.quantiles([asked])[0], progress)

    def refined_from(self, asked: Features, first: Array, progress: Progress) -> Array:
        """The same, from a first estimate that was kept. `first`: (3,) of log cost."""
        encoding = self.estimate.encoding
        return self.refinement.quantiles(encoding, encoding.kind_row(asked.kind), first, progress)

    def log_costs(self, asked: Sequence[Features]) -> Array:
        """(n,): medians."""
        return np.asarray(self.quantiles(asked)[:, QUANTILES.index(0.5)])
