"""What an application will cost, until something better has been trained: the running mean of its kind."""

from gateway.fairness.units import KvTokenTime
from gateway.ports import FirstCall, StateStore


class MeanCostPredictor:
    """The mean settled cost of the kind's closed applications, else of all, else a setting."""

    def __init__(self, store: StateStore, default_cost: KvTokenTime) -> None:
        self._store = store
        self._default_cost = default_cost

    async def predict(self, call: FirstCall) -> KvTokenTime:
        mean = await self._store.mean_cost(call.kind)
        return self._default_cost if mean is None else mean
