"""The collector: batches of spans posted to it over HTTP, a few times where it is busy or away."""

import asyncio
import gzip
import logging
import ssl
from collections.abc import Mapping

import httpx

from gateway.tracing.config import TracingConfig, shown_url
from gateway.tracing.wire import Held, attributes, delimited

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_RETRYABLE = frozenset({429, 502, 503, 504})


class Collector:
    def __init__(self, config: TracingConfig, resource: Mapping[str, Held], version: str) -> None:
        """Raises ValueError for certificates that cannot be read."""
        self._config = config
        self._resource = delimited(1, attributes(1, resource))
        self._scope = delimited(1, delimited(1, b"justitia-gateway") + delimited(2, version.encode()))
        headers = {"content-type": "application/x-protobuf", **dict(config.headers)}
        if config.compresses:
            headers["content-encoding"] = "gzip"
        self._client = httpx.AsyncClient(headers=headers, timeout=config.timeout_s, verify=_verify(config))
        self._is_away = False

    async def send(self, spans: bytes) -> bool:
        """Whether it has taken them."""
        body = delimited(1, self._resource + delimited(2, self._scope + spans))
        if self._config.compresses:
            body = await asyncio.to_thread(gzip.compress, body, 1)
        complaint, pause_s = "", _FIRST_PAUSE_S
        try:
            async with asyncio.timeout(self._config.timeout_s):
                while (complaint := await self._post(body)) and not complaint.startswith("it refuses"):
                    await asyncio.sleep(pause_s)
                    pause_s *= 2
        except TimeoutError:
            complaint = complaint or "it does not answer in time"
        self._tell(complaint)
        return not complaint

    async def _post(self, body: bytes) -> str:
        """What is wrong; "" if nothing is."""
        try:
            response = await self._client.post(self._config.url, content=body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return type(error).__name__
        if response.is_success:
            return ""
        return f"{'it is busy' if response.status_code in _RETRYABLE else 'it refuses'}: {response.status_code}"

    def _tell(self, complaint: str) -> None:
        """Once when it goes, once when it comes."""
        if bool(complaint) != self._is_away:
            self._is_away = bool(complaint)
            where = shown_url(self._config.url)
            if complaint:
                log.warning("spans are not taken by %s (%s): what is too much is dropped", where, complaint)
            else:
                log.info("spans are taken by %s again", where)

    async def aclose(self) -> None:
        await self._client.aclose()


def _verify(config: TracingConfig) -> ssl.SSLContext | bool:
    if config.certificate is None and config.client_certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=config.certificate)
        if config.client_certificate is not None:
            context.load_cert_chain(config.client_certificate, config.client_key)
    except OSError as error:
        raise ValueError(f"certificates of the collector cannot be read: {error.strerror}") from error
    return context
