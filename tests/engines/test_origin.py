import pytest

from gateway.engines.origin import Origin


@pytest.mark.parametrize(
    ("url", "name", "host", "port", "authority", "target"),
    [
        ("http://engine:8000", "engine:8000", "engine", 8000, b"engine:8000", b"/v1/x?y=1"),
        ("http://engine", "engine:80", "engine", 80, b"engine", b"/v1/x?y=1"),
        ("https://engine/", "engine:443", "engine", 443, b"engine", b"/v1/x?y=1"),
        ("https://engine:443", "engine:443", "engine", 443, b"engine", b"/v1/x?y=1"),
        ("http://engine/behind/it/", "engine:80", "engine", 80, b"engine", b"/behind/it/v1/x?y=1"),
        ("http://engine/a b", "engine:80", "engine", 80, b"engine", b"/a%20b/v1/x?y=1"),
        ("http://engine/a?b=c", "engine:80", "engine", 80, b"engine", b"/a/v1/x?y=1"),
        ("http://[::1]:8000", "::1:8000", "::1", 8000, b"[::1]:8000", b"/v1/x?y=1"),
        ("http://MÜNCHEN.de", "münchen.de:80", "xn--mnchen-3ya.de", 80, b"xn--mnchen-3ya.de", b"/v1/x?y=1"),
    ],
)
def test_what_a_url_says(url: str, name: str, host: str, port: int, authority: bytes, target: bytes) -> None:
    origin = Origin.of(url)

    assert (origin.name, origin.host, origin.port, origin.authority) == (name, host, port, authority)
    assert origin.target("/v1/x?y=1") == target
    assert origin.is_tls == url.startswith("https")
    assert origin.basic is None


@pytest.mark.parametrize(
    ("userinfo", "basic"),
    [("me:secret", b"Basic bWU6c2VjcmV0"), ("me", b"Basic bWU6"), ("m%65:s%40e", b"Basic bWU6c0Bl")],
)
def test_a_user_and_password_are_for_the_authorization_header_only(userinfo: str, basic: bytes) -> None:
    origin = Origin.of(f"http://{userinfo}@engine:8000")

    assert origin.basic == basic
    assert (origin.name, origin.authority) == ("engine:8000", b"engine:8000")


@pytest.mark.parametrize(
    "url",
    ["", "engine", "engine:8000", "ftp://engine", "http://", "http://[::1", "http://a:port", f"http://{'x' * 64}.de"],
)
def test_what_is_no_url_of_a_host(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of an engine"):
        Origin.of(url)
