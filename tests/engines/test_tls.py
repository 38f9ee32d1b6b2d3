"""https towards an engine, with certificates made for the run."""

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.engines.origin import Origin
from gateway.engines.upstream import Upstream
from gateway.errors import EngineUnreachable, RequestUnsent
from tests.engines.raw_engine import RawEngine, answering, then_waits

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LARGE = b"0123456789abcdef" * 2**18


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing: in CI that is a failure, not a reason to skip")
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "engine.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=engine"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file) + ".key", "-out", str(file)]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")
    return context


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.usefixtures("_trusted")
async def test_calls_share_a_connection(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20), RawEngine(answering(OK), tls=tls) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, 5.0)
        for body in (b"ask", LARGE, b"ask"):
            response = await upstream.send("POST", b"/", [], body)
            assert await response.read(100) == b"hello"
        assert [request.body for request in engine.requests] == [b"ask", LARGE, b"ask"]
        assert len(engine.peers) == 1
        await upstream.aclose()


@pytest.mark.usefixtures("_trusted")
async def test_hanging_up_reaches_the_engine(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20), RawEngine(then_waits(OK[:-1]), tls=tls) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, 5.0)
        response = await upstream.send("POST", b"/", [], b"ask")
        await response.aclose()
        await engine.peers[0].hung_up.wait()
        await upstream.aclose()


@pytest.mark.usefixtures("_trusted")
async def test_an_answer_cut_off(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20), RawEngine(answering(OK[:-1], closes=True), tls=tls) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, 5.0)
        response = await upstream.send("POST", b"/", [], b"ask")
        with pytest.raises(EngineUnreachable, match="broke off"):
            await response.read(100)
        await upstream.aclose()


async def test_a_stranger_is_not_called(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20), RawEngine(answering(OK), tls=tls) as engine:
        upstream = Upstream(Origin.of(engine.url), 5.0, 5.0)
        with pytest.raises(RequestUnsent, match=r"(?i)certificate"):
            await upstream.send("POST", b"/", [], b"ask")
        assert engine.requests == []
        await upstream.aclose()


@pytest.mark.usefixtures("_trusted")
async def test_a_certificate_of_another_name(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20), RawEngine(answering(OK), tls=tls) as engine:
        upstream = Upstream(Origin.of(engine.url.replace("127.0.0.1", "localhost")), 5.0, 5.0)
        with pytest.raises(RequestUnsent, match=r"(?i)certificate"):
            await upstream.send("POST", b"/", [], b"ask")
        await upstream.aclose()
