"""deploy/kubernetes: renders with kubectl, is what Kubernetes' own schemas say, and agrees with what it runs."""

import re

import httpx
import kubernetes_validate
import pytest

from gateway.composition import create_app
from gateway.settings import ENGINE_SIDE_VARIABLES, Settings
from tests.deploy.manifests import OVERLAYS, Object, container, literals, named, of_kind, pod, rendered, workload
from tests.deploy.tools import (
    DEPLOY,
    ROOT,
    VERSION,
    environment_of,
    has_exact_version,
    serve_settings,
    size,
    stages,
    walk,
)

VERSIONS = ("1.27", kubernetes_validate.latest_version())
NAMES = ("justitia-gateway", "justitia-engine")
DOCKERFILES = {
    ("cpu", "justitia-gateway"): "gateway.Dockerfile",
    ("gpu", "justitia-gateway"): "gateway.Dockerfile",
    ("cpu", "justitia-engine"): "engine-cpu.Dockerfile",
    ("gpu", "justitia-engine"): "engine.Dockerfile",
}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def objects(overlay: str) -> list[Object]:
    return rendered(overlay)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(objects: list[Object], version: str) -> None:
    assert len(objects) >= 15
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_misspelt_word_would_be_seen(objects: list[Object]) -> None:
    pod(objects, "justitia-gateway")["automountServiceAcountToken"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(workload(objects, "justitia-gateway"), VERSIONS[-1], strict=True)


def test_everything_is_in_one_namespace_that_allows_no_more_than_it_needs(objects: list[Object]) -> None:
    namespace = named(objects, "Namespace", "justitia")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"].get("namespace") for one in objects if one is not namespace} == {"justitia"}


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_shut_in(objects: list[Object], name: str) -> None:
    """What Kubernetes calls restricted, and a root that nobody writes to."""
    spec, one = pod(objects, name), container(objects, name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} == {"emptyDir"}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_given_a_token_of_the_cluster(objects: list[Object], name: str) -> None:
    assert pod(objects, name)["serviceAccountName"] == name
    assert pod(objects, name)["automountServiceAccountToken"] is False
    assert named(objects, "ServiceAccount", name)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", NAMES)
def test_it_may_write_where_its_image_writes(overlay: str, objects: list[Object], name: str) -> None:
    environment = environment_of(stages(DEPLOY / DOCKERFILES[overlay, name])[-1])
    needed = {environment[word] for word in ("HOME", "HF_HOME") if word in environment} | {"/tmp"}
    mounts = container(objects, name)["volumeMounts"]
    assert needed <= {mount["mountPath"] for mount in mounts}
    volumes = [volume["name"] for volume in pod(objects, name)["volumes"]]
    claims = [one["metadata"]["name"] for one in workload(objects, name)["spec"].get("volumeClaimTemplates", [])]
    assert {mount["name"] for mount in mounts} == {*volumes, *claims}
    assert len(volumes + claims) == len({*volumes, *claims})


@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_of_this_version(overlay: str, objects: list[Object], name: str) -> None:
    image = container(objects, name)["image"]
    assert has_exact_version(image)
    built = DOCKERFILES[overlay, name].removesuffix(".Dockerfile")
    assert image.endswith(f"/justitia-{built}:{VERSION}")


def test_settings_are_those_of_the_gateway(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = gateway_settings(objects, monkeypatch)
    assert settings.tenants.open is False
    assert settings.store.redis_url == "redis://redis"
    assert settings.scheduling.max_memory_bytes is not None
    assert settings.scheduling.max_memory_bytes <= 0.75 * size(
        container(objects, "justitia-gateway")["resources"]["limits"]["memory"]
    )
    # Otherwise Kubernetes adds JUSTITIA_GATEWAY_SERVICE_HOST and others, which the gateway refuses.
    assert pod(objects, "justitia-gateway")["enableServiceLinks"] is False
    of_engines = {name for name in literals(objects, "justitia-engine") if name.startswith("JUSTITIA_")}
    assert of_engines <= ENGINE_SIDE_VARIABLES


def gateway_settings(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> Settings:
    secrets = {"redis-url": "redis://redis", "engine-token": "t", "operator-token": "0123456789abcdef"}
    environment = environment_of(stages(DEPLOY / "gateway.Dockerfile")[-1]) | {
        name: secrets.get(value, value) for name, value in literals(objects, "justitia-gateway").items()
    }
    return serve_settings(container(objects, "justitia-gateway")["args"], environment, monkeypatch)


def test_a_change_of_settings_rolls_gateways(objects: list[Object]) -> None:
    [source] = container(objects, "justitia-gateway")["envFrom"]
    assert re.fullmatch(r"justitia-gateway-[a-z0-9]{10}", source["configMapRef"]["name"])


def test_every_secret_is_one_that_the_page_tells_to_make(objects: list[Object]) -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    references = [one["secretKeyRef"] for one in walk(objects) if "secretKeyRef" in one]
    assert {one["name"] for one in references} == {"justitia"}
    made = set(re.findall(r"^ *--from-literal=([a-z-]+)=", page, re.MULTILINE))
    assert {one["key"] for one in references if not one.get("optional")} == made == {"redis-url", "engine-token"}
    assert all(f"`{one['key']}`" in page for one in references if one.get("optional"))
    assert not of_kind(objects, "Secret"), "secrets are not ours to write down"


def test_each_engine_has_a_name_and_every_gateway_knows_it(objects: list[Object]) -> None:
    engines = workload(objects, "justitia-engine")
    service = named(objects, "Service", engines["spec"]["serviceName"])
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    [port] = service["spec"]["ports"]
    urls = [
        f"http://{engines['metadata']['name']}-{number}.{service['metadata']['name']}:{port['port']}"
        for number in range(engines["spec"]["replicas"])
    ]
    assert literals(objects, "justitia-gateway")["JUSTITIA_ENGINES__URLS"].split(",") == urls


def test_selectors_find_the_pods_they_are_for(objects: list[Object]) -> None:
    labels = {name: workload(objects, name)["spec"]["template"]["metadata"]["labels"] for name in NAMES}
    for name in NAMES:
        assert selects(workload(objects, name)["spec"]["selector"]["matchLabels"], labels) == {name}
        assert selects(named(objects, "Service", name)["spec"]["selector"], labels) == {name}
        assert selects(named(objects, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"], labels) == {name}
        assert selects(named(objects, "NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"], labels) == {name}
    assert selects(named(objects, "NetworkPolicy", "justitia-names")["spec"]["podSelector"]["matchLabels"], labels) == {
        *NAMES
    }
    [spread] = pod(objects, "justitia-gateway")["topologySpreadConstraints"]
    assert selects(spread["labelSelector"]["matchLabels"], labels) == {"justitia-gateway"}


def selects(selector: dict[str, str], labels: dict[str, dict[str, str]]) -> set[str]:
    assert selector
    return {name for name, own in labels.items() if selector.items() <= own.items()}


def test_ports_are_those_that_processes_listen_on(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = gateway_settings(objects, monkeypatch)
    command = container(objects, "justitia-engine")["args"]
    listens = {"justitia-gateway": settings.server.port, "justitia-engine": int(command[command.index("--port") + 1])}
    for name in NAMES:
        [port] = container(objects, name)["ports"]
        assert port == {"name": "http", "containerPort": listens[name]}
        [offered] = named(objects, "Service", name)["spec"]["ports"]
        assert offered["targetPort"] == offered["name"] == port["name"]
        probes = [value for key, value in container(objects, name).items() if key.endswith("Probe")]
        assert [probe["httpGet"]["port"] for probe in probes] == [port["name"]] * 3


def test_who_reaches_whom(objects: list[Object]) -> None:
    nobody = named(objects, "NetworkPolicy", "justitia-nobody")["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    gateway = named(objects, "NetworkPolicy", "justitia-gateway")["spec"]
    [way_in] = gateway["ingress"]
    assert way_in["from"] == [{"namespaceSelector": {"matchLabels": {"justitia-access": "yes"}}}]
    assert [one["port"] for one in way_in["ports"]] == [8080]
    [to_engines, to_redis] = gateway["egress"]
    assert to_engines["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "justitia-engine"}}}]
    assert [one["port"] for one in to_engines["ports"]] == [8000]
    assert [one["port"] for one in to_redis["ports"]] == [6379, 6380]
    [to_engine] = named(objects, "NetworkPolicy", "justitia-engine")["spec"]["ingress"]
    assert to_engine["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "justitia-gateway"}}}]
    assert [one["port"] for one in to_engine["ports"]] == [8000]


async def test_probes_ask_for_what_the_gateway_has(objects: list[Object]) -> None:
    one = container(objects, "justitia-gateway")
    asked = {name: one[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    # With its only engine down a gateway still has calls that wait, and an answer for each: it must stay reachable.
    assert asked == {"startupProbe": "/readyz", "readinessProbe": "/healthz", "livenessProbe": "/healthz"}
    app = create_app(Settings.model_validate({"engines": {"urls": "http://127.0.0.1:9"}}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        assert {path: (await client.get(path)).status_code for path in asked.values()} == {
            "/readyz": 503,
            "/healthz": 200,
        }


def test_a_gateway_that_goes_has_time_to(objects: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    one = container(objects, "justitia-gateway")
    word, pause_s = one["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    needs_s = int(pause_s) + gateway_settings(objects, monkeypatch).server.drain_timeout_s + 5
    assert pod(objects, "justitia-gateway")["terminationGracePeriodSeconds"] >= needs_s
    # By then nobody is sent here any more.
    probe = one["readinessProbe"]
    assert int(pause_s) >= 5
    assert probe["failureThreshold"] * probe["periodSeconds"] <= int(pause_s)


def test_starting_takes_as_long_as_weights_do(objects: list[Object]) -> None:
    """Gateways wait for the first engine, and nobody restarts them or calls the roll-out failed before that."""
    gateway_s, engine_s = (patience_s(container(objects, name)["startupProbe"]) for name in NAMES)
    assert engine_s >= 1800
    assert gateway_s >= engine_s
    assert workload(objects, "justitia-gateway")["spec"]["progressDeadlineSeconds"] > gateway_s


def patience_s(probe: Object) -> int:
    seconds: int = probe["failureThreshold"] * probe["periodSeconds"]
    return seconds


def test_a_rollout_or_a_drained_node_leaves_gateways(objects: list[Object]) -> None:
    spec = workload(objects, "justitia-gateway")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in spec, "they are the autoscaler's; each `kubectl apply` would set them back"
    scaler = named(objects, "HorizontalPodAutoscaler", "justitia-gateway")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "justitia-gateway"
    assert scaler["minReplicas"] >= 2
    for name in NAMES:
        assert named(objects, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1


def test_limits(overlay: str, objects: list[Object]) -> None:
    for name in NAMES:
        resources = container(objects, name)["resources"]
        assert {"cpu", "memory"} <= resources["limits"].keys() & resources["requests"].keys()
        assert size(resources["requests"]["memory"]) <= size(resources["limits"]["memory"])
        in_memory = [
            size(volume["emptyDir"]["sizeLimit"])
            for volume in pod(objects, name)["volumes"]
            if volume["emptyDir"].get("medium") == "Memory"
        ]
        assert sum(in_memory) < size(resources["limits"]["memory"]) / 2
    gpus = container(objects, "justitia-engine")["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == {"cpu": None, "gpu": 1}[overlay]
