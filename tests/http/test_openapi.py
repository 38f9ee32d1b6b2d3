"""The control routes against their own OpenAPI document: Schemathesis makes requests of it, valid and not."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.http.listeners import gateway_beside

OPERATIONS = [
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "GET /v1/applications",
    "GET /v1/applications/{name}",
    "GET /v1/overview",
    "GET /v1/usage",
    "POST /v1/applications",
    "POST /v1/applications/{name}/close",
]
OPEN_TO_ALL = ("GET /healthz", "GET /metrics", "GET /readyz")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with gateway_beside(tenants={"api_keys": {"right": "team"}}) as (_, gateway, _):
        yield gateway.url


@pytest.fixture(scope="module")
def operations(url: str) -> dict[str, schemathesis.APIOperation]:
    document = httpx.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_every_control_route_is_documented(operations: dict[str, schemathesis.APIOperation]) -> None:
    assert sorted(operations) == OPERATIONS


def test_no_refusal_is_documented_that_is_never_sent(operations: dict[str, schemathesis.APIOperation]) -> None:
    for operation in operations.values():
        assert "422" not in operation.definition.raw["responses"]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_are_as_documented(
    url: str, operations: dict[str, schemathesis.APIOperation], name: str, mode: GenerationMode
) -> None:
    operation = operations[name]
    if mode is GenerationMode.NEGATIVE and not operation.body:
        return  # there is nothing to be wrong

    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode))
        for key in ("right", "wrong"):
            response = case.call(base_url=url, headers={"authorization": f"Bearer {key}"})
            case.validate_response(response, checks=CHECKS)
            assert key == "right" or name in OPEN_TO_ALL or 400 <= response.status_code < 500

    check()


def test_methods_that_are_none(url: str) -> None:
    for name in OPERATIONS:
        path = name.partition(" ")[2].replace("{name}", "x")
        for method in ("PUT", "PATCH", "DELETE", "TRACE"):
            answer = httpx.request(method, url + path)
            assert (answer.status_code, bool(answer.headers["allow"])) == (405, True)
