from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.engine import FakeVllm
from tests.http.gateways import RunningGateway, running_gateway, until


async def test_alive_whatever_is_down() -> None:
    async with running_gateway() as gateway:
        health = await gateway.client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert health.json()["version"]
        ready = await gateway.client.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["no engine is configured"])


async def test_ready_means_that_an_engine_answers(engine: FakeVllm, gateway: RunningGateway) -> None:
    name = engine.url.removeprefix("http://")
    ready = await gateway.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "missing": [], "store": "up", "engines": {name: "patched"}}

    await engine.stop()

    async def is_down() -> bool:
        answer = await gateway.client.get("/readyz")
        return answer.status_code == 503 and answer.json()["missing"] == ["no engine answers"]

    await until(is_down)
    assert (await gateway.client.get("/healthz")).status_code == 200


async def test_the_metrics_are_prometheus_text(gateway: RunningGateway) -> None:
    await gateway.post("/v1/chat/completions", {"model": "tiny", "messages": []})
    answer = await gateway.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"justitia_calls", "justitia_gateway_overhead_seconds", "justitia_identity"} <= families
    assert await gateway.metric("identity_total", rule="none") == 1
    assert await gateway.metric("gateway_overhead_seconds_count") == 1

    answer = await gateway.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.text.endswith("# EOF\n")


async def test_the_openapi_document_lists_the_routes(gateway: RunningGateway) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    assert {"/v1/applications", "/v1/applications/{name}/close", "/healthz", "/readyz", "/metrics"} <= set(paths)
