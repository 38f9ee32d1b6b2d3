"""deploy/kubernetes as kubectl renders it."""

from functools import cache
from typing import Any

from tests.deploy.tools import DEPLOY, documents, run, tool

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")

Object = dict[str, Any]


@cache
def _text(folder: str) -> str:
    answer = run(tool("kubectl"), "kustomize", FOLDER / folder)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def rendered(overlay: str) -> list[Object]:
    return documents(_text(f"overlays/{overlay}"))


def monitoring() -> list[Object]:
    return documents(_text("monitoring"))


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def named(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def workload(objects: list[Object], name: str) -> Object:
    """The Deployment or StatefulSet."""
    kind = {"justitia-gateway": "Deployment", "justitia-engine": "StatefulSet"}[name]
    return named(objects, kind, name)


def pod(objects: list[Object], name: str) -> Object:
    spec: Object = workload(objects, name)["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object], name: str) -> Object:
    [only] = pod(objects, name)["containers"]
    one: Object = only
    return one


def literals(objects: list[Object], name: str) -> dict[str, str]:
    """The container's environment as far as it is no secret; a secret is its key's name."""
    found: dict[str, str] = {}
    one = container(objects, name)
    for source in one.get("envFrom", []):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in one.get("env", []):
        found[variable["name"]] = variable.get("value") or variable["valueFrom"]["secretKeyRef"]["key"]
    return found
