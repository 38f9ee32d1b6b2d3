"""The dashboards are what their code makes, are laid out soundly, and every expression finds data."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.__main__ import FOLDER, written
from tests.deploy.conftest import Observed
from tests.deploy.observed import expressions

BOARDS = sorted(FOLDER.glob("*.json"))
DEPLOY = FOLDER.parent.parent


def board(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_code_makes() -> None:
    for path, text in written().items():
        assert path.read_text() == text, "python -m deploy.dashboards"
    assert set(written()) == set(BOARDS)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
class TestEach:
    def test_grafanas_own_types_read_it_and_write_the_same(self, path: Path) -> None:
        register_default_plugins()
        read = Dashboard.from_json(board(path))
        assert json.loads(json.dumps(read, cls=JSONEncoder)) == board(path)

    def test_ids_are_unique(self, path: Path) -> None:
        ids = [panel["id"] for panel in board(path)["panels"]]
        assert len(set(ids)) == len(ids)
        titles = [panel["title"] for panel in panels(path)]
        assert len(set(titles)) == len(titles)

    def test_no_panel_lies_on_another_or_beside_the_grid(self, path: Path) -> None:
        places = [panel["gridPos"] for panel in board(path)["panels"]]
        for place in places:
            assert place["x"] >= 0
            assert place["x"] + place["w"] <= 24
        for a, b in combinations(places, 2):
            is_beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            is_below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            assert is_beside or is_below, (a, b)

    def test_every_panel_says_what_it_tells(self, path: Path) -> None:
        for panel in panels(path):
            assert len(panel["description"]) > 30, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"], panel["title"]
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters)

    def test_its_variables_are_used(self, path: Path) -> None:
        text = path.read_text()
        names = [variable["name"] for variable in board(path)["templating"]["list"]]
        assert "datasource" in names
        for name in set(names) - {"datasource", "engine"}:
            assert f"${name}" in text


@pytest.mark.parametrize(
    ("title", "expr"),
    [pytest.param(title, expr, id=f"{path.stem}: {title} {n}") for path in BOARDS
     for n, (title, expr) in enumerate(expressions(path))],
)  # fmt: skip
def test_every_expression_finds_data(observed: Observed, title: str, expr: str) -> None:
    samples = observed.prometheus.query(expr, observed.as_of)
    assert samples, f"{title}: {expr}"
    assert any(math.isfinite(float(sample["value"][1])) for sample in samples), f"{title}: {expr}: {samples}"


def test_a_counter_that_never_was_is_no_data(observed: Observed) -> None:
    """The test above can fail."""
    assert observed.prometheus.query("sum(rate(justitia_no_such_total[30s]))", observed.as_of) == []


def test_grafana_finds_source_and_boards() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "justitia.yml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape  # $__rate_interval goes by it
    provider = yaml.safe_load((provisioning / "dashboards" / "justitia.yml").read_text())["providers"][0]
    compose = (DEPLOY.parent / "docker-compose.yml").read_text()
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}" in compose
    assert "./deploy/prometheus:/etc/prometheus" in compose
