"""`/console`: one page that shows the gateway live, served by the gateway. Plain files, nothing from anywhere else.

The page holds no secret, so anybody may have it; what it shows it asks of `/v1/overview`, with a key if it must.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_PAGE = "index.html"

_HEADERS = {
    # Nothing but these files and this gateway's answers; and no text ever becomes markup or code.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    content_type: str
    etag: str


def console_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    held = _read_files()

    @router.get("/console")
    @router.get("/console/{name}")
    async def console(name: str = _PAGE, if_none_match: Annotated[str, Header()] = "") -> Response:
        file = held.get(name)
        if file is None:
            raise HTTPException(404)
        headers = {**_HEADERS, "etag": file.etag}
        if file.etag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.content_type)

    return router


def _read_files() -> dict[str, _File]:
    """All there are: no path that a client sends is ever opened."""
    found: dict[str, _File] = {}
    for entry in files("gateway.console").iterdir():
        content_type = _CONTENT_TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            content = entry.read_bytes()
            found[entry.name] = _File(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
