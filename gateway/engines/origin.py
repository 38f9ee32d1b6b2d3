"""Where an engine is: what its base URL says, read once."""

import base64
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    name: str
    """host:port, fit for a metric label and for messages."""
    host: str
    """As a resolver wants it: no brackets around an IPv6 address, IDNA where it is not ASCII."""
    port: int
    is_tls: bool
    authority: bytes
    """Value of the host header: the port only where it is not the scheme's own."""
    base_path: bytes
    """What comes before every path; without a slash at its end, so empty for most."""
    basic: bytes | None
    """Value of the authorization header that a user and password in the URL ask for."""

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Raises ValueError for what is not the http(s) URL of a host."""
        try:
            base = httpx.URL(url)
            host = base.raw_host.decode("ascii")
            host.encode("idna")  # a label too long for any resolver
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ValueError(f"not the URL of an engine: {url!r} ({error})") from error
        if base.scheme not in _PORTS or not host:
            raise ValueError(f"not the URL of an engine: {url!r}")
        port = base.port or _PORTS[base.scheme]
        return cls(
            name=f"{base.host}:{port}",
            host=host,
            port=port,
            is_tls=base.scheme == "https",
            authority=base.netloc,
            base_path=base.raw_path.partition(b"?")[0].rstrip(b"/"),
            basic=_basic(base.userinfo),
        )

    def target(self, path: str) -> bytes:
        """What the first line of a request names. `path` begins with a slash and may carry a query."""
        return self.base_path + path.encode()


def _basic(userinfo: bytes) -> bytes | None:
    if not userinfo:
        return None
    user, _, password = userinfo.decode("ascii").partition(":")
    return b"Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode())
