"""What the documents say, where it can be checked."""

import json
import re
from pathlib import Path

from benchmarks import late_table, report
from benchmarks.demo_table import RESULT, demo_table
from benchmarks.prediction_tables import with_prediction
from benchmarks.studies import STUDIES
from gateway.metrics import Metrics
from gateway.replay.step_time import PRESETS, StepTime
from gateway.settings_command import settings_table

DOCS = Path(__file__).parent.parent / "docs"


def test_the_settings_table_is_the_generated_one() -> None:
    text = (DOCS / "operations.md").read_text()
    found = re.search(r"<!-- settings -->\n(.*)\n<!-- /settings -->", text, re.DOTALL)
    assert found is not None
    assert found.group(1) == settings_table(), "run `justitia settings` and paste its table"


def test_every_metric_is_explained_and_every_one_explained_exists() -> None:
    text = (DOCS / "operations.md").read_text()
    explained = {name.removesuffix("_total") for name in re.findall(r"`(justitia_[a-z_]+)", text)}
    assert explained == {metric.name for metric in Metrics("justitia").registry.collect()}


def test_the_life_of_a_call_has_ten_steps() -> None:
    text = (DOCS / "architecture.md").read_text()
    assert re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE) == [str(i) for i in range(1, 11)]


def test_the_readme_shows_what_was_measured() -> None:
    text = (DOCS.parent / "README.md").read_text()
    found = re.search(r"<!-- demo -->\n(.*)\n<!-- /demo -->", text, re.DOTALL)
    assert found is not None
    assert found.group(1).strip() == demo_table(json.loads(RESULT.read_text())), "python benchmarks/demo_table.py"


def test_the_late_rule_shows_what_was_measured() -> None:
    text = (DOCS / "algorithm.md").read_text()
    found = re.search(r"<!-- late -->\n(.*)\n<!-- /late -->", text, re.DOTALL)
    assert found is not None
    assert found.group(1) == late_table.late_table(json.loads(late_table.RESULT.read_text()))


def test_the_page_of_results_shows_what_was_measured() -> None:
    page = report.PAGE.read_text()
    reports = [json.loads(path.read_text()) for path in sorted(report.RESULTS.glob("*.json"))]
    studies = [one for one in reports if "study" in one]
    assert {one["study"] for one in studies} == {study.name for study in STUDIES}
    for one in studies:
        assert report.with_tables(page, one) == page, f"{one['study']}: python -m benchmarks.report"
    assert report.with_cost(page) == page, "python -m benchmarks.report"


def test_the_page_on_prediction_shows_what_was_measured() -> None:
    page = report.PREDICTION_PAGE.read_text()
    found = json.loads((report.RESULTS / "prediction.json").read_text())
    assert with_prediction(page, found) == page, "python -m benchmarks.report"


def test_every_picture_of_a_page_is_there() -> None:
    for page in DOCS.glob("*.md"):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            assert (DOCS / picture).exists(), f"{page.name}: {picture}"


def test_the_preset_of_the_tiny_engine_is_the_fitted_one() -> None:
    fit = json.loads((report.RESULTS / "step_time.json").read_text())
    assert PRESETS["cpu-tiny"] == StepTime(fit["base_s"], fit["per_token_s"], fit["per_kv_token_s"])
