"""The path prefix that names an application: /apps/{application}/v1/… and /apps/{application}/runs/{run}/v1/…"""

import re
from urllib.parse import quote, unquote_to_bytes

from gateway.identity.names import MAX_NAME_CHARS
from gateway.values import value

# The characters that RFC 3986 allows in a path beside letters, digits and `-._~`; `%` because the path arrives encoded.
_PATH_PUNCTUATION = "/%:@!$&'()*+,;="
_URL_PATH = re.compile(rf"[A-Za-z0-9._~{re.escape(_PATH_PUNCTUATION)}-]*")

_MAX_DECODED_CHARS = 3 * MAX_NAME_CHARS
"""A longer segment cannot decode to a name that stands for itself: it becomes a digest as it is, undecoded."""


@value
class PathClaim:
    """A path taken apart. Segments are decoded, not yet made safe; an empty one counts as absent."""

    upstream_path: str
    application: str | None = None
    run: str | None = None


def read_path(path: str) -> PathClaim:
    """Total: what does not look like an application's path is passed on whole.

    Slashes are found before anything is decoded, so an encoded slash stays inside its segment, and the part passed
    upstream can only begin with /v1. Extra leading slashes (a base URL that ends in one) are dropped; they also keep
    `//host/…` from being taken for another server.
    """
    if path in _PLAIN:  # nearly all calls
        return _PLAIN[path]
    path = "/" + path.lstrip("/")
    if path.startswith("/apps/"):
        match path.split("/", 6):
            case ["", "apps", application, "v1", *_]:
                return _claim(path, len("/apps/") + len(application), application, "")
            case ["", "apps", application, "runs", run, "v1", *_]:
                return _claim(path, len("/apps//runs/") + len(application) + len(run), application, run)
    return PathClaim(_url_path(path))


def _claim(path: str, prefix_chars: int, application: str, run: str) -> PathClaim:
    return PathClaim(_url_path(path[prefix_chars:]), _decoded(application) or None, _decoded(run) or None)


def _decoded(segment: str) -> str:
    """Percent-decoded once. Different bytes stay different, valid UTF-8 or not."""
    if "%" not in segment or len(segment) > _MAX_DECODED_CHARS:
        return segment
    return unquote_to_bytes(segment.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")


def _url_path(path: str) -> str:
    if _URL_PATH.fullmatch(path):
        return path
    return quote(path, safe=_PATH_PUNCTUATION, errors="surrogatepass")


_PLAIN = {
    path: PathClaim(path)
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
}
"""What reading them would give: no application, nothing to quote."""
