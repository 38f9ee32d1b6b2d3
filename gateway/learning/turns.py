"""Gateways of several machines that share a shelf share a record too: one training serves them all.

A turn to train is a holder's name in the shared store, with a time to live. It is renewed while training runs, so that
one who dies in it is waited for no longer than `HOLD_S`, and it outlasts the training by a rest, in which the others
look at the shelf. Who becomes due meanwhile has nothing to add: what closed there is in the record that was used.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from gateway.errors import StoreUnavailable

HOLD_S = 60.0
_RENEW_S = 15.0


@runtime_checkable
class TrainingTurns(Protocol):
    """What a shelf can do that more than one machine uses."""

    async def hold_turn(self, trainer: str, for_s: float) -> bool:
        """Take it, or hold it for longer; False: it is another's. Raises StoreUnavailable."""
        ...


@contextlib.asynccontextmanager
async def turn_held(turns: TrainingTurns | None, trainer: str, rest_s: float) -> AsyncIterator[bool]:
    """Whether it is ours, and then until `rest_s` after the end; without `turns` it always is. Raises
    StoreUnavailable where that cannot be known. One that is cancelled leaves its turn to time out."""
    if turns is None:
        yield True
        return
    if not await turns.hold_turn(trainer, HOLD_S):
        yield False
        return
    renewing = asyncio.create_task(_renew_for_ever(turns, trainer))
    try:
        yield True
    finally:
        renewing.cancel()
    with contextlib.suppress(StoreUnavailable):  # then it times out
        await turns.hold_turn(trainer, rest_s)


async def _renew_for_ever(turns: TrainingTurns, trainer: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        with contextlib.suppress(StoreUnavailable):
            await turns.hold_turn(trainer, HOLD_S)
