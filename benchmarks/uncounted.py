"""`justitia` without the counting that every call does: what metrics cost is measured against it.

What is counted between calls (engines, the clock, the process) stays: it costs no call anything.
"""

import sys

from gateway import cli, composition
from gateway.metrics import Metrics


class Uncounted(Metrics):
    def call_dispatched(self, queue_s: float, kind: str) -> None:
        pass

    def first_token(self, ttft_s: float, kind: str) -> None:
        pass

    def call_ended(self, outcome: str, kind: str) -> None:
        pass

    def overhead(self, overhead_s: float) -> None:
        pass

    def identity(self, rule: str) -> None:
        pass


if __name__ == "__main__":
    composition.Metrics = Uncounted  # type: ignore[misc]
    sys.exit(cli.main())
