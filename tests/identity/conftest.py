"""One call to identify, with everything a test does not care about filled in."""

from collections.abc import Callable

import pytest

from gateway.identity import Identity, RequestFacts, identify


def _identified(path: str = "/v1/chat/completions", *headers: tuple[str, str], tenant: str = "anonymous") -> Identity:
    return identify(RequestFacts(path, headers, "call-1"), tenant)


@pytest.fixture(scope="session")
def identified() -> Callable[..., Identity]:
    return _identified
