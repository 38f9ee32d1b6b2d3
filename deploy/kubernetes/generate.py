"""Brings what Prometheus and Grafana read to where kustomize may read it, which takes nothing from outside its folder.

    python deploy/kubernetes/generate.py

`monitoring/rules.yaml`: the groups of deploy/prometheus/alerts.yml as a PrometheusRule.
`monitoring/dashboards/`: deploy/grafana/dashboards/*.json as they are.
"""

from pathlib import Path

import yaml

DEPLOY = Path(__file__).parent.parent
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
MONITORING = DEPLOY / "kubernetes" / "monitoring"

_HEAD = "# Made of deploy/prometheus/alerts.yml by `python deploy/kubernetes/generate.py`.\n"


def generated() -> dict[Path, str]:
    """Text by path. Raises OSError, and yaml.YAMLError for alerts that are none."""
    files = {MONITORING / "rules.yaml": prometheus_rule(ALERTS.read_text())}
    for dashboard in sorted(DASHBOARDS.glob("*.json")):
        files[MONITORING / "dashboards" / dashboard.name] = dashboard.read_text()
    return files


def prometheus_rule(alerts: str) -> str:
    labels = {"app.kubernetes.io/name": "justitia-gateway", "app.kubernetes.io/part-of": "justitia"}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "justitia", "labels": labels},
        "spec": {"groups": yaml.safe_load(alerts)["groups"]},
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=1000)


def main() -> None:
    files = generated()
    (MONITORING / "dashboards").mkdir(exist_ok=True)
    for stale in set((MONITORING / "dashboards").glob("*.json")) - files.keys():
        stale.unlink()
    for path, text in files.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
