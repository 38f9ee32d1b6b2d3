"""The seams: what the gateway needs from a state store, from an engine and from a cost predictor.

Everything in here is a value or a Protocol. Adapters (`gateway.stores`, `gateway.engines`) implement the Protocols,
`gateway.composition` picks them, and the rest of the gateway knows no more of them than these pages say.
"""

from gateway.ports.engine import Engine, EngineMode, EngineRequest, EngineResponse, EngineState, FinishedCall
from gateway.ports.learning import ArtifactShelf, ClosedApplication, History, ShelfMark
from gateway.ports.links import LinkStore
from gateway.ports.predictor import CostPredictor, FirstCall, MeanCost, Prediction, Progress
from gateway.ports.store import ApplicationRecord, Arrival, Snapshot, Standing, StateStore
from gateway.ports.usage import TenantShare, TenantTotals, UsageLedger

__all__ = [
    "ApplicationRecord",
    "Arrival",
    "ArtifactShelf",
    "ClosedApplication",
    "CostPredictor",
    "Engine",
    "EngineMode",
    "EngineRequest",
    "EngineResponse",
    "EngineState",
    "FinishedCall",
    "FirstCall",
    "History",
    "LinkStore",
    "MeanCost",
    "Prediction",
    "Progress",
    "ShelfMark",
    "Snapshot",
    "Standing",
    "StateStore",
    "TenantShare",
    "TenantTotals",
    "UsageLedger",
]
