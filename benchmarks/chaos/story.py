"""One kill from the moment before to the moment when nothing is left of it, as whoever is on call sees it."""

import time
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.chaos.callers import Callers
from benchmarks.chaos.kills import Kill
from benchmarks.chaos.stage import Stage, until
from tests.deploy.observed import expressions

_ROOT = Path(__file__).parents[2]
_OPERATORS = _ROOT / "deploy" / "grafana" / "dashboards" / "operators.json"
_SETTLED_S = 3.0
_GIVE_UP_S = 240.0
_BEFORE_S = 5.0
"""For so long before a kill answers are counted that its outage is compared with."""

Row = dict[str, Any]


def told(stage: Stage, callers: Callers, kill: Kill) -> Row:
    """Seconds are counted from the kill. Raises TimeoutError where something never comes."""
    panel = dict(expressions(_OPERATORS))[kill.panel]
    until(lambda: _is_calm(stage, callers, panel), lambda: f"{stage.readyz()}, {_pages(stage)}, {stage.overview()}")
    time.sleep(_BEFORE_S)
    before, panel_before = _order(stage), _value(stage, panel)
    watch = _Watch(stage, callers, kill)
    stage.parts[kill.part].kill()
    until(watch.is_over, watch.described, _GIVE_UP_S)
    time.sleep(_SETTLED_S)
    restarted_at = watch.began + watch.back["restarted_s"]
    panel_during = _value(stage, panel, watch.wall_began + watch.seen["fired_s"])
    return {
        "killed": kill.name,
        "alert": kill.alert,
        "seen": watch.seen,
        "back": watch.back,
        "alerts": watch.alerts,
        "calls": callers.between(watch.began, watch.began + watch.back["answered_s"]),
        "answers_per_s": {
            "before": callers.answers_per_s(watch.began - _BEFORE_S, watch.began),
            "away": callers.answers_per_s(watch.began, restarted_at),
        },
        "panel": {"title": kill.panel, "before": panel_before, "during": panel_during, "after": _value(stage, panel)},
        "order": _kept(before, _order(stage)),
        "log": watch.lines,
    }


@dataclass
class _Watch:
    stage: Stage
    callers: Callers
    kill: Kill
    began: float = field(default_factory=time.monotonic)
    wall_began: float = field(default_factory=time.time)
    seen: dict[str, float] = field(default_factory=dict)
    """When each first said that something is lost."""
    back: dict[str, float] = field(default_factory=dict)
    """When each first said that it is there again."""
    alerts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Those that fired: `fired_s`, and `ended_s` where they no longer did before all was over."""
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._log_from = len(self.stage.parts["gateway"].log())
        [rule] = [rule for rule in self.stage.prometheus.rules() if rule["name"] == self.kill.alert]
        self._expression = rule["query"]

    def is_over(self) -> bool:
        """One look around."""
        self.callers.check()
        self._look_at_alerts()
        self._look_for_loss()
        if self.stage.parts[self.kill.part].restarted_at is not None:
            self._look_for_return()
        return len(self.back) == 6 and "fired_s" in self.seen

    def described(self) -> str:
        return f"{self.kill.name}: seen {self.seen}, back {self.back}, alerts {self.alerts}"

    def _look_at_alerts(self) -> None:
        states = {rule["name"]: rule["state"] for rule in self.stage.prometheus.rules()}
        for name, state in states.items():
            if state == "firing":
                self.alerts.setdefault(name, {"fired_s": self._now()})
            elif name in self.alerts:
                self.alerts[name].setdefault("ended_s", self._now())
        if states[self.kill.alert] in ("pending", "firing"):
            self._first(self.seen, "pending_s")
        if states[self.kill.alert] == "firing":
            self._first(self.seen, "fired_s")

    def _look_for_loss(self) -> None:
        if "fired_s" in self.seen and "readyz_s" in self.back:
            return
        if self.kill.is_told_by_readyz(self.stage.readyz()):
            self._first(self.seen, "readyz_s")
        if self.kill.is_told_by_overview(self.stage.overview()):
            self._first(self.seen, "overview_s")
        if self.kill.says_lost is not None and self._says(self.kill.says_lost):
            self._first(self.seen, "log_s")
        if self.stage.prometheus.query(self._expression):
            self._first(self.seen, "expression_s")

    def _look_for_return(self) -> None:
        restarted_at = self.stage.parts[self.kill.part].restarted_at
        assert restarted_at is not None
        if restarted_at < self.began:
            return
        self.back.setdefault("restarted_s", round(restarted_at - self.began, 1))
        if self.stage.are_ready():
            self._first(self.back, "readyz_s")
        overview = self.stage.overview()
        if overview is not None and "readyz_s" in self.back and not self.kill.is_told_by_overview(overview):
            self._first(self.back, "overview_s")
        if self._says(self.kill.says_back):
            self._first(self.back, "log_s")
        answered_at = self.callers.first_answer_begun_after(restarted_at)
        if answered_at is not None:
            self.back.setdefault("answered_s", round(answered_at - self.began, 1))
        if "fired_s" in self.seen and "readyz_s" in self.back and not _pages(self.stage):
            self._first(self.back, "silent_s")

    def _says(self, wanted: Any) -> bool:
        for line in self.stage.parts["gateway"].log()[self._log_from :].splitlines():
            if wanted.search(line):
                if line not in self.lines:
                    self.lines.append(line)
                return True
        return False

    def _first(self, times: dict[str, float], name: str) -> None:
        times.setdefault(name, self._now())

    def _now(self) -> float:
        return round(time.monotonic() - self.began, 1)


def _is_calm(stage: Stage, callers: Callers, panel: str) -> bool:
    return (
        stage.are_ready()
        and not _pages(stage)
        and _value(stage, panel) == 1
        and len(_order(stage)["finish_times"]) == callers.num_applications
    )


def _pages(stage: Stage) -> set[str]:
    """Alerts that wake somebody now."""
    rules = stage.prometheus.rules()
    return {rule["name"] for rule in rules if rule["state"] == "firing" and rule["labels"]["severity"] == "page"}


def _value(stage: Stage, expr: str, at: float | None = None) -> float | None:
    """The panel's one number; None: no data."""
    found = stage.prometheus.query(expr, at)
    return float(found[0]["value"][1]) if found else None


def _order(stage: Stage) -> Row:
    overview = stage.overview()
    assert overview is not None
    finish_times = {one["id"]: one["virtual_finish_time"] for one in overview["applications"]}
    return {"virtual_time": overview["virtual_time"], "finish_times": finish_times}


def _kept(before: Row, after: Row) -> Row:
    """Of the applications that were there both times: how many, and how many pairs have changed places."""
    old, new = before["finish_times"], after["finish_times"]
    both = sorted(old.keys() & new.keys())
    return {
        "applications": len(both),
        "inverted_pairs": sum((old[a] < old[b]) != (new[a] < new[b]) for a, b in combinations(both, 2)),
        "largest_move": max((abs(new[one] - old[one]) / old[one] for one in both if old[one]), default=0.0),
        "clock_went_back": after["virtual_time"] < before["virtual_time"],
    }
