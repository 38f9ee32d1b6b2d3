"""The images: what their Dockerfiles say, and the gateway's as it runs."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from docker.utils.build import PatternMatcher
from packaging.requirements import Requirement
from packaging.version import Version

from gateway.demo.processes import free_port
from tests.deploy.image import Image, build, build_context
from tests.deploy.tools import DEPLOY, PROJECT, ROOT, VERSION, Instruction, has_exact_version, run, stages, tool
from tests.fakes.waiting import until

DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
SECRET = re.compile(r"token|secret|password|api_?key|credential", re.IGNORECASE)
STOP_S = 30.0


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.stem)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def bases(dockerfile: Path) -> list[str]:
    """Images that it begins from, and not its own stages."""
    froms = [stage[0].words for stage in stages(dockerfile)]
    own = {words[2] for words in froms if len(words) == 3}
    return [words[0] for words in froms if words[0] not in own]


def test_there_are_three() -> None:
    assert {path.stem for path in DOCKERFILES} == {"engine", "engine-cpu", "gateway"}


def test_a_linter_finds_nothing(dockerfile: Path) -> None:
    answer = run(tool("hadolint"), dockerfile)
    assert answer.returncode == 0, answer.stdout


def test_the_linter_can_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN apt-get update && apt-get install -y libnuma1\n")
    assert run(tool("hadolint"), bad).returncode != 0


def test_every_image_has_its_version(dockerfile: Path) -> None:
    assert all(has_exact_version(image) for image in bases(dockerfile)), bases(dockerfile)


def test_the_same_image_has_one_version_everywhere() -> None:
    images = {image for dockerfile in DOCKERFILES for image in bases(dockerfile)}
    assert len({image.split(":")[0] for image in images}) == len(images)


def test_nobody_is_root(dockerfile: Path) -> None:
    last = stages(dockerfile)[-1]
    assert [step.text for step in last if step.name == "USER"][-1] == "10001"
    made = [step.text for step in last if step.name == "RUN" and "useradd" in step.text]
    assert len(made) == 1
    assert "--uid 10001" in made[0]


def test_it_says_whether_it_is_well_and_what_it_runs(dockerfile: Path) -> None:
    last = {step.name: step for step in stages(dockerfile)[-1]}
    assert {"HEALTHCHECK", "EXPOSE", "ENTRYPOINT", "CMD"} <= last.keys()
    assert f"http://127.0.0.1:{last['EXPOSE'].text}/" in last["HEALTHCHECK"].text
    assert last["ENTRYPOINT"].words[0] == "justitia", "the process itself is told to stop, and no shell"


def test_no_secret_is_in_it(dockerfile: Path) -> None:
    for step in (step for stage in stages(dockerfile) for step in stage):
        if step.name in ("ENV", "ARG"):
            assert not SECRET.search(step.text), step.text


def test_what_is_copied_is_there(dockerfile: Path) -> None:
    context = build_context()
    before: set[str] = set()
    for stage in stages(dockerfile):
        for step in (step for step in stage if step.name == "COPY"):
            words = step.words
            if words[0].startswith("--from="):
                assert words[0].removeprefix("--from=") in before
            else:
                assert {*words[:-1]} <= context
        before |= {*stage[0].words[2:]}


def test_nothing_else_is_sent_to_the_builder() -> None:
    ignored = PatternMatcher((ROOT / ".dockerignore").read_text().splitlines())
    for stray in (".env", "gateway/.env", ".git/config", "gateway/__pycache__/cli.pyc", "tests/conftest.py", "id_rsa"):
        assert ignored.matches(stray), stray
    assert not ignored.matches("gateway/cli.py")
    context = build_context()
    packages = {"gateway", "predictor", "engine_patch"}
    # Docker always sends the last one.
    files = {"pyproject.toml", "README.md", "LICENSE", "deploy", ".dockerignore"}
    assert {path.split("/")[0] for path in context} == packages | files
    assert not [path for path in context if "__pycache__" in path]


def tags() -> dict[str, Version]:
    """Version by image."""
    images = {image for dockerfile in DOCKERFILES for image in bases(dockerfile)}
    return {name: Version(tag.split("-")[0]) for name, _, tag in (image.partition(":") for image in images)}


def test_python_and_vllm_are_those_of_the_project() -> None:
    python = tags()["python"]
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains(python)
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{python.major}{python.minor}"
    extras = PROJECT["project"]["optional-dependencies"]
    [gpu], [cpu] = (Requirement(one) for one in extras["engine"]), (Requirement(one) for one in extras["engine-cpu"])
    assert gpu.specifier.contains(tags()["vllm/vllm-openai"])
    assert cpu.specifier.contains(tags()["vllm/vllm-openai"]), "one vLLM, on GPUs and on CPUs"


def locked() -> dict[str, list[str]]:
    """Versions by name; several where they hang on the Python."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (DEPLOY / "gateway.lock").read_text(), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def test_the_lock_has_what_the_project_asks_for() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["predictor"]:
        wanted = Requirement(text)
        assert any(wanted.specifier.contains(version) for version in locked()[wanted.name]), (
            f"{text}: docs/deploy.md says how to make gateway.lock anew"
        )


def test_the_lock_names_no_place_and_has_a_hash_for_everything() -> None:
    text = (DEPLOY / "gateway.lock").read_text()
    assert "://" not in text
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(packages) == sum(len(versions) for versions in locked().values())
    assert all("--hash=sha256:" in package for package in packages)


# --- the gateway's image, as it runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Built once; in a folder that the image's user may enter, and outside the one it may write to."""
    folder = Path(tempfile.mkdtemp(prefix="justitia-image-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield build(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def running(image: Image, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """`justitia serve` as the image starts it, without Redis, without a home, and nothing to write to but /tmp."""
    port = free_port()
    [entry] = [step.words for step in image.last if step.name == "ENTRYPOINT"]
    [command] = [step.words for step in image.last if step.name == "CMD"]
    log = tmp_path / "log"
    settings = {"JUSTITIA_SERVER__PORT": str(port), "JUSTITIA_ENGINES__URLS": "http://127.0.0.1:9"}
    process = image.start(*entry, *command, log=log, **settings, JUSTITIA_TENANTS__OPEN="true")
    try:
        yield process, port, log
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def started(process: subprocess.Popen[bytes], port: int, log: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, once it serves."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def answers() -> bool:
            assert process.poll() is None, f"it did not start:\n{text_of(log)}"
            try:
                await client.get("/healthz")
            except httpx.ConnectError:
                return False
            return True

        await until(answers)
        yield client


def text_of(path: Path) -> str:
    return path.read_text()


def test_the_wheel_holds_what_the_packages_hold(image: Image) -> None:
    [wheel] = (image.folder / "opt" / "dist").glob("*.whl")
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted = {path for path in build_context() if path.split("/")[0] in packages and (ROOT / path).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= {*archive.namelist()}
    assert wheel.name.startswith(f"justitia_gateway-{VERSION}-")


async def test_it_serves_as_the_images_user_and_writes_nothing(
    image: Image, running: tuple[subprocess.Popen[bytes], int, Path]
) -> None:
    process, port, log = running
    async with started(process, port, log) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok", "version": VERSION}
        assert "justitia_calls_queued" in (await client.get("/metrics")).text
        assert (await client.get("/readyz")).status_code == 503
        page = await client.get("/console")
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
    if os.geteuid() == 0:
        status = text_of(Path(f"/proc/{process.pid}/status"))
        assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert run(*image.command("touch", str(image.folder / "opt" / "a-file"))).returncode != 0 or os.geteuid() != 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_S) == 0
    assert "Traceback" not in text_of(log)


async def test_its_health_check_tells_a_gateway_from_none(
    image: Image, running: tuple[subprocess.Popen[bytes], int, Path]
) -> None:
    process, port, log = running
    async with started(process, port, log):
        [check] = [step.text for step in image.last if step.name == "HEALTHCHECK"]
        words = Instruction("CMD", check.split("CMD ", 1)[1].replace(":8080/", f":{port}/")).words
        assert run(*image.command(*words), env=image.environment).returncode == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_S) == 0
    assert run(*image.command(*words), env=image.environment).returncode != 0
