"""deploy/kubernetes/monitoring: what it takes from deploy/prometheus and deploy/grafana is what is there, and what it
asks for is what the gateway tells."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml

from gateway.composition import create_app
from gateway.metrics import Metrics
from gateway.settings import Settings
from tests.deploy.crds import CRDS
from tests.deploy.manifests import FOLDER, OVERLAYS, Object, monitoring, named, of_kind, rendered
from tests.deploy.tools import DEPLOY, run, seconds, tool

JOB = "justitia-gateway"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return monitoring()


def scrapes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    return found


def test_what_is_generated_is_what_it_is_made_of() -> None:
    files = generator().generated()
    there = {FOLDER / "monitoring" / "rules.yaml", *(FOLDER / "monitoring" / "dashboards").iterdir()}
    assert files.keys() == there
    for path, text in files.items():
        assert path.read_text() == text, f"{path.name}: python deploy/kubernetes/generate.py"


def test_the_operator_takes_every_object(objects: list[Object]) -> None:
    assert {one["kind"] for one in objects} == {"ConfigMap", "PrometheusRule", "ServiceMonitor"}
    for one in objects:
        if one["kind"] in CRDS:
            jsonschema.validate(one, CRDS[one["kind"]])
        else:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert {one["metadata"]["namespace"] for one in objects} == {"justitia"}


def test_a_misspelt_word_would_be_seen(objects: list[Object]) -> None:
    [monitor] = of_kind(objects, "ServiceMonitor")
    misspelt = monitor | {"spec": monitor["spec"] | {"joblabel": "app"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(misspelt, CRDS["ServiceMonitor"])


def test_prometheus_takes_the_rules(objects: list[Object], tmp_path: Path) -> None:
    [rule] = of_kind(objects, "PrometheusRule")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(rule["spec"]))
    answer = run(tool("promtool"), "check", "rules", rules)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())


def test_grafana_finds_every_dashboard(objects: list[Object]) -> None:
    held = {}
    for one in of_kind(objects, "ConfigMap"):
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(str(one["data"])) < 2**20, "a ConfigMap holds a mebibyte"
        held |= one["data"]
    assert held == {path.name: path.read_text() for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_the_gateways_are_read(objects: list[Object], overlay: str) -> None:
    [monitor] = of_kind(objects, "ServiceMonitor")
    service = named(rendered(overlay), "Service", "justitia-gateway")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == JOB
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    app = create_app(Settings.model_validate({"engines": {"urls": "http://127.0.0.1:9"}}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        assert "justitia_calls_queued" in (await client.get(endpoint["path"])).text
    assert seconds(endpoint["scrapeTimeout"]) < seconds(endpoint["interval"])


def test_they_are_read_as_often_as_rules_reckon_with(objects: list[Object]) -> None:
    [monitor] = of_kind(objects, "ServiceMonitor")
    there = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert monitor["spec"]["endpoints"][0]["interval"] == there


def test_alerts_and_dashboards_look_for_this_job() -> None:
    """Here, and under Compose's Prometheus."""
    [composed] = [
        one["job_name"]
        for one in scrapes()
        if "gateway:8080" in {target for group in one["static_configs"] for target in group["targets"]}
    ]
    texts = [(DEPLOY / "prometheus" / "alerts.yml").read_text()]
    texts += [path.read_text().replace('\\"', '"') for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")]
    matchers = [found for text in texts for found in re.findall(r'\bjob(=~?)"([^"]+)"', text)]
    assert matchers
    for operator, value in matchers:
        for job in (JOB, composed):
            assert (re.fullmatch(value, job) is not None) if operator == "=~" else value == job, f"{value} misses {job}"


def test_the_autoscaler_asks_for_a_metric_that_there_is(tmp_path: Path) -> None:
    [metric] = named(rendered("gpu"), "HorizontalPodAutoscaler", "justitia-gateway")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {family.name for family in Metrics("justitia").registry.collect()}
    [rule] = yaml.safe_load((FOLDER / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert re.search(rule["name"]["matches"], name)
    assert rule["seriesQuery"].startswith(f'{name}{{job="{JOB}"')
    assert {resource["resource"] for resource in rule["resources"]["overrides"].values()} == {"namespace", "pod"}
    # As the adapter fills it in: is that PromQL?
    asked = rule["metricsQuery"]
    for hole, filling in (("Series", name), ("LabelMatchers", 'namespace="justitia",pod="p"'), ("GroupBy", "pod")):
        assert f"<<.{hole}>>" in asked
        asked = asked.replace(f"<<.{hole}>>", filling)
    rules = tmp_path / "rules.yml"
    groups = [
        {"name": "g", "rules": [{"record": f"r{n}", "expr": e} for n, e in enumerate((asked, rule["seriesQuery"]))]}
    ]
    rules.write_text(yaml.safe_dump({"groups": groups}))
    answer = run(tool("promtool"), "check", "rules", rules)
    assert answer.returncode == 0, answer.stdout + answer.stderr
