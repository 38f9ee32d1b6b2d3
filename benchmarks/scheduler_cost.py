"""What one event costs the scheduler, with 10² to 10⁵ applications backlogged in it.

    python -m benchmarks.scheduler_cost            writes benchmarks/results/scheduler_cost.json

Every application has one waiting call. A turn is what one application brings with it: it is ranked, its call arrives,
a running call ends (and the first in order is dispatched), and the ended one's application is charged and forgotten:
five events, so that the backlog stays what it is. The engine holds 64 calls. `event_us` is a turn's time by five.
"""

import argparse
import json
import random
import statistics
import time
from itertools import count
from pathlib import Path
from typing import Any

from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.fairness.policies import PolicyName, policy_named
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Tokens, VirtualTime
from gateway.ports import EngineState
from gateway.scheduling.admission import Limits
from gateway.scheduling.events import (
    ApplicationForgotten,
    ApplicationRanked,
    CallArrived,
    CallEnded,
    Dispatch,
    EngineReported,
    Event,
)
from gateway.scheduling.model import Call, Outcome, Usage
from gateway.scheduling.scheduler import Scheduler

RESULT = Path(__file__).parent / "results" / "scheduler_cost.json"
BACKLOGS = (100, 1_000, 10_000, 100_000)
NUM_TURNS = 2_000
EVENTS_A_TURN = 5
NUM_SEQS = 64
POLICIES: tuple[PolicyName, ...] = ("justitia", "fcfs", "srjf")


class World:
    def __init__(self, policy: PolicyName) -> None:
        limits = Limits(max_queued_calls=1 << 60, max_queued_bytes=1 << 60)
        self.scheduler = Scheduler(policy_named(policy), ["engine"], limits=limits, margin=4, unreachable_grace_s=15.0)
        self.draw = random.Random(1)
        self.numbers = count()
        self.inside: list[str] = []
        state = EngineState(1, 0.0, Tokens(1 << 20), Tokens(1 << 20), NUM_SEQS, 0, 0, frozenset(), 0)
        self.tell(EngineReported("engine", 0.0, ("model",), state))

    def tell(self, event: Event) -> None:
        for decision in self.scheduler.handle(event, 0.0):
            if isinstance(decision, Dispatch):
                self.inside.append(decision.call_id)

    def arrive(self) -> None:
        number = next(self.numbers)
        application_id, cost = ApplicationId(f"a{number}"), KvTokenTime(self.draw.uniform(1e3, 1e9))
        self.rank(application_id, cost)
        self.tell(
            CallArrived(
                Call(
                    call_id=f"{number}",
                    application_id=application_id,
                    model="model",
                    arrived_at=float(number),
                    deadline_at=1e9,
                    prompt_tokens=Tokens(100),
                    max_tokens=Tokens(100),
                    predicted_cost=KvTokenTime(15e3),
                    body_bytes=1000,
                )
            )
        )

    def rank(self, application_id: ApplicationId, cost: KvTokenTime) -> None:
        self.tell(
            ApplicationRanked(
                application_id=application_id,
                arrived_at=1.0,
                weight=UNIT_WEIGHT,
                virtual_finish_time=VirtualTime(cost),
                predicted_cost=cost,
                service=KvTokenTime(0.0),
            )
        )

    def end_one(self) -> None:
        """Of those inside, any; the place that it leaves is filled by the first in order."""
        place = self.draw.randrange(len(self.inside))
        call_id, self.inside[place] = self.inside[place], self.inside[-1]
        del self.inside[-1]
        self.tell(CallEnded(call_id, Outcome.COMPLETED, Usage(Tokens(100), Tokens(100))))
        application_id = ApplicationId(f"a{call_id}")
        self.rank(application_id, KvTokenTime(15e3))
        self.tell(ApplicationForgotten(application_id))

    def turn(self) -> None:
        self.arrive()
        self.end_one()


def measure(policy: PolicyName) -> list[dict[str, Any]]:
    world, rows = World(policy), []
    for backlog in BACKLOGS:
        while world.scheduler.num_waiting < backlog:
            world.arrive()
        turns_us = []
        for _ in range(NUM_TURNS):
            began = time.perf_counter()
            world.turn()
            turns_us.append((time.perf_counter() - began) * 1e6)
        # A newcomer that outranks what waits inside the engine goes in beside it.
        assert abs(world.scheduler.num_waiting - backlog) < NUM_SEQS
        turns_us.sort()
        rows.append(
            {
                "policy": policy,
                "backlogged": backlog,
                "event_us": round(statistics.median(turns_us) / EVENTS_A_TURN, 2),
                "event_p99_us": round(turns_us[len(turns_us) * 99 // 100] / EVENTS_A_TURN, 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    stolen = StolenTime()
    rows = [row for policy in POLICIES for row in measure(policy)]
    report = {"machine": machine(), "versions": versions(), "stolen_share": stolen.share(), "rows": rows}
    output.write_text(json.dumps(report, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
