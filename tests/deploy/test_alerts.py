"""The alerts: sound, explained, tried, and told within ten seconds where it matters."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import RedisServer
from tests.deploy.conftest import Observed, demand
from tests.deploy.observed import PROMETHEUS, Engine, prometheus
from tests.fakes.running_gateway import running_gateway

RUNBOOK = PROMETHEUS.parent.parent / "docs" / "runbook.md"
GROUPS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
NAMES = [alert["alert"] for alert in ALERTS]

_THRESHOLD = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*[0-9.]+")


def without_thresholds(expr: str) -> str:
    """And without `absent`, of what should be there."""
    return _THRESHOLD.sub("", expr.removeprefix("absent(").removesuffix(")") if "absent(" in expr else expr)


def test_promtool_finds_them_sound(promtool: str) -> None:
    for command in (
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["check", "config", "local.yml"],
    ):
        subprocess.run([promtool, *command], cwd=PROMETHEUS, check=True, capture_output=True, text=True)


def test_each_is_silent_and_fires_as_it_should(promtool: str) -> None:
    ended = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"], cwd=PROMETHEUS, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = {(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]}
    assert tried == {(name, fires) for name in NAMES for fires in (False, True)}


def test_a_threshold_that_cannot_be_crossed_would_be_noticed(promtool: str, tmp_path: Path) -> None:
    """The unit tests can fail."""
    rules = (PROMETHEUS / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(rules.replace("justitia_call_oldest_wait_seconds > 300", "vector(0) > 300"))
    (tmp_path / "alerts_test.yml").write_text((PROMETHEUS / "alerts_test.yml").read_text())
    command = [promtool, "test", "rules", "alerts_test.yml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "JustitiaWaitsTooLong" in ended.stdout + ended.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_it_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    assert re.findall(r"^## (Justitia.+)$", RUNBOOK.read_text(), re.MULTILINE) == NAMES


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_what_it_compares_finds_data(observed: Observed, alert: dict[str, Any]) -> None:
    expr = without_thresholds(alert["expr"])
    assert expr != alert["expr"]
    assert observed.prometheus.query(expr, observed.as_of), expr


def test_prometheus_evaluates_all_of_them(observed: Observed) -> None:
    observed.prometheus.until(lambda: all(rule["health"] == "ok" for rule in observed.prometheus.rules()))
    assert {rule["name"] for rule in observed.prometheus.rules()} == set(NAMES)


def test_a_busy_gateway_that_is_well_pages_nobody(observed: Observed) -> None:
    pages = {alert["alert"] for alert in ALERTS if alert["labels"]["severity"] == "page"}
    # A tenth of the applications of this load are broken off by their engine.
    assert observed.prometheus.firing() & pages <= {"JustitiaCallsFail"}


@pytest.mark.redis
def test_what_is_lost_is_told_within_ten_seconds_of_the_scrape(redis_server: RedisServer, tmp_path: Path) -> None:
    """As in production: a scrape every five seconds."""
    demand("prometheus")
    flags = ("--redis", redis_server.url)
    environment = {"JUSTITIA_ENGINES__STATE_TIMEOUT_S": "1", "JUSTITIA_STORE__TIMEOUT_S": "0.5"}
    with (
        Engine() as engine,
        running_gateway(tmp_path, "--engine", engine.vllm.url, *flags, environment=environment) as gateway,
        prometheus(tmp_path, [gateway.url]) as watching,
    ):
        watching.until(lambda: watching.query("justitia_engine_up == 1") and watching.query("justitia_store_up == 1"))
        assert watching.firing() == set()
        engine.run(engine.vllm.stop())
        redis_server.kill()
        assert _told(watching, "justitia_engine_up == 0", "JustitiaEngineDown") < 10
        assert _told(watching, "justitia_store_up == 0", "JustitiaStoreDown") < 10
        gateway.process.kill()
        gateway.process.wait()
        assert _told(watching, 'up{job="justitia"} == 0', "JustitiaGatewayDown") < 10


def _told(watching: Any, visible: str, alert: str) -> float:
    """Seconds from where the series shows it to where the alert fires."""
    watching.until(lambda: watching.query(visible))
    since = time.monotonic()
    watching.until(lambda: alert in watching.firing())
    return time.monotonic() - since
