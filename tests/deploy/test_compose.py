"""docker-compose.yml: valid in each profile, and true to what it starts."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import (
    DEPLOY,
    ROOT,
    VERSION,
    environment_of,
    has_exact_version,
    run,
    seconds,
    serve_settings,
    size,
    stages,
    tool,
)

FILE = ROOT / "docker-compose.yml"
EXAMPLE = DEPLOY / "example.env"
ALWAYS = {"redis", "gateway", "prometheus", "grafana"}
ENGINES = {"gpu": "engine", "cpu": "engine-cpu"}
OWN = {"gateway": "gateway", "engine": "engine", "engine-cpu": "engine-cpu"}
"""Services of images that are built here, and their Dockerfiles."""
NOT_ROOT = {"redis", "nobody", "472", "10001"}


def composed(*flags: str, **environment: str) -> dict[str, Any]:
    """What docker-compose makes of the file, with the token that it asks for."""
    answer = config(*flags, JUSTITIA_ENGINE_TOKEN="a-token", **environment)
    assert answer.returncode == 0, answer.stderr
    return yaml.safe_load(answer.stdout)


def config(*flags: str, **environment: str) -> Any:
    """`docker-compose config`, with no .env of anybody's."""
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    with tempfile.NamedTemporaryFile(suffix=".env") as nothing:
        command = (tool("docker-compose"), "--env-file", nothing.name, "-f", FILE, *flags, "config")
        return run(*command, env=bare | environment)


def started(services: dict[str, Any], *profiles: str) -> set[str]:
    return {name for name, one in services.items() if not one.get("profiles") or {*one["profiles"]} & {*profiles}}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return composed()["services"]


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_each_profile_is_valid_and_has_one_engine(profile: str) -> None:
    services = composed("--profile", profile)["services"]
    assert started(services, profile) == ALWAYS | {ENGINES[profile]}
    engine = services[ENGINES[profile]]
    names = {ENGINES[profile], *engine.get("networks", {}).get("default", {}).get("aliases", [])}
    assert services["gateway"]["environment"]["JUSTITIA_ENGINES__URLS"] == "http://engine:8000"
    assert "engine" in names


def test_without_a_profile_no_engine_is_started(services: dict[str, Any]) -> None:
    assert started(services) == ALWAYS
    elsewhere = composed(ENGINE_URLS="http://a:8000,http://b:8000")["services"]["gateway"]["environment"]
    assert elsewhere["JUSTITIA_ENGINES__URLS"] == "http://a:8000,http://b:8000"


@pytest.mark.parametrize("token", [{}, {"JUSTITIA_ENGINE_TOKEN": ""}])
def test_without_a_token_one_line_says_what_to_do(token: dict[str, str]) -> None:
    answer = config(**token)
    assert answer.returncode != 0
    assert "cp deploy/example.env .env" in answer.stderr


def test_the_example_names_what_can_be_set_and_nothing_else() -> None:
    text = EXAMPLE.read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    used = set(re.findall(r"\$\{([A-Z_]+)", FILE.read_text()))
    passed = set(re.findall(r"^ {6}([A-Z_]+):$", FILE.read_text(), re.MULTILINE))
    assert named - {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"} == used | passed
    profile = re.search(r"^COMPOSE_PROFILES=(.*)$", text, re.MULTILINE)
    assert profile is not None
    assert profile.group(1) in ENGINES
    assert "JUSTITIA_ENGINE_TOKEN=\n" in text, "a token that everybody knows is none"


def test_what_the_gateway_is_told_is_what_it_understands(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = services["gateway"]
    environment = environment_of(stages(DEPLOY / "gateway.Dockerfile")[-1]) | {
        name: value for name, value in gateway["environment"].items() if value is not None
    }
    settings = serve_settings(gateway["command"], environment, monkeypatch)
    assert settings.engines.urls == ("http://engine:8000",)
    assert settings.engines.token == services["engine"]["environment"]["JUSTITIA_ENGINE_TOKEN"] == "a-token"
    assert settings.store.redis_url == "redis://redis:6379/0"
    assert settings.server.host == "0.0.0.0"
    assert [port.split("/")[0] for port in gateway["ports"]] == [f"127.0.0.1:8080:{settings.server.port}"]
    assert seconds(gateway["stop_grace_period"]) >= settings.server.drain_timeout_s + 5
    assert settings.scheduling.max_memory_bytes is not None
    assert settings.scheduling.max_memory_bytes <= 0.75 * size(gateway["mem_limit"])


def test_an_operators_token_is_passed_on_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "JUSTITIA_SERVER__OPERATOR_TOKEN"
    assert composed()["services"]["gateway"]["environment"][name] is None
    given = composed(**{name: "0123456789abcdef"})["services"]["gateway"]
    assert given["environment"][name] == "0123456789abcdef"
    assert (
        serve_settings(given["command"], given["environment"], monkeypatch).server.operator_token
        == given["environment"][name]
    )


def test_only_this_machine_reaches_anything(services: dict[str, Any]) -> None:
    ports = {name: one["ports"] for name, one in services.items() if one.get("ports")}
    assert ports.keys() == {"gateway", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)


def test_every_container_is_shut_in(services: dict[str, Any]) -> None:
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["pids_limit"] > 0, name
        assert one["logging"]["options"]["max-size"], name
        assert "privileged" not in one, name
        assert one.get("network_mode") is None, name
        assert one.get("ipc") is None, name
        assert not any("docker.sock" in volume for volume in one.get("volumes", [])), name


def test_nobody_is_root(services: dict[str, Any]) -> None:
    # Prometheus and Grafana are not, of themselves.
    users = {"prometheus": "nobody", "grafana": "472"}
    for name, one in services.items():
        last = (
            [step.text for step in stages(DEPLOY / f"{OWN[name]}.Dockerfile")[-1] if step.name == "USER"][-1:]
            if (name in OWN)
            else []
        )
        assert one.get("user", *last or [users.get(name)]) in NOT_ROOT, name


def test_every_image_has_its_version(services: dict[str, Any]) -> None:
    for name, one in services.items():
        assert has_exact_version(one["image"]), one["image"]
        if name in OWN:
            assert one["image"] == f"justitia-{name}:{VERSION}"
            assert one["build"]["dockerfile"] == f"deploy/{OWN[name]}.Dockerfile"


def test_every_service_says_whether_it_is_well(services: dict[str, Any]) -> None:
    for name, one in services.items():
        in_image = name in OWN and any(
            step.name == "HEALTHCHECK" for step in stages(DEPLOY / f"{OWN[name]}.Dockerfile")[-1]
        )
        assert in_image or one["healthcheck"]["test"][0] == "CMD", name


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    whole = composed()
    for name, one in services.items():
        for volume in one.get("volumes", []):
            source, target, mode = volume.split(":")
            if source.startswith("/"):
                assert Path(source).is_dir(), f"{name}: {source}"
                assert mode == "ro", f"{name}: {source}"
            else:
                assert source in whole["volumes"], f"{name}: {source}"
            assert target.startswith("/")


def test_engines_write_only_where_something_is_mounted(services: dict[str, Any]) -> None:
    for name in ENGINES.values():
        last = stages(DEPLOY / f"{OWN[name]}.Dockerfile")[-1]
        mounted = {volume.split(":")[1] for volume in services[name]["volumes"]}
        environment = environment_of(last)
        assert mounted == {environment["HOME"], environment["HF_HOME"]}
        made = [step.text for step in last if step.name == "RUN" and "install --directory --owner 10001" in step.text]
        assert all(target in made[0] for target in mounted), "a fresh volume belongs to whom the image's folder does"


def test_prometheus_and_grafana_find_what_they_are_given(services: dict[str, Any]) -> None:
    prometheus, grafana = services["prometheus"], services["grafana"]
    at = {
        volume.split(":")[1]: Path(volume.split(":")[0]) for one in (prometheus, grafana) for volume in one["volumes"]
    }
    assert at["/etc/prometheus"].joinpath("prometheus.yml").is_file()
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    [source] = yaml.safe_load((at["/etc/grafana/provisioning"] / "datasources/justitia.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [boards] = yaml.safe_load((at["/etc/grafana/provisioning"] / "dashboards/justitia.yml").read_text())["providers"]
    assert at[boards["options"]["path"]] == DEPLOY / "grafana" / "dashboards"


def test_prometheus_asks_who_is_there(services: dict[str, Any]) -> None:
    scrapes = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {target for one in scrapes for group in one.get("static_configs", []) for target in group["targets"]}
    assert "gateway:8080" in targets
    assert {target.split(":")[0] for target in targets} <= services.keys()
