"""One call to identify, with everything a test does not care about filled in."""

from collections.abc import Callable

import pytest

from gateway.identity import Identity, KeyRing, RequestFacts, identify


def _identified(
    path: str = "/v1/chat/completions",
    *headers: tuple[str, str],
    api_key: str | None = None,
    keys: KeyRing | None = None,
) -> Identity:
    return identify(RequestFacts(path, headers, api_key, "call-1"), keys or KeyRing())


@pytest.fixture(scope="session")
def identified() -> Callable[..., Identity]:
    return _identified
