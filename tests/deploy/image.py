"""The gateway's image without a container: its Dockerfile's own steps, carried out in a folder.

The build's `/opt` is a folder here. What runs in it runs as the image says: its user, its environment and no other,
and, where this machine lets us, a root that nobody can write to.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from docker.utils import exclude_paths

from tests.deploy.tools import DEPLOY, ROOT, Instruction, environment_of, run, stages, tool

_SHUT_IN = """
mount -o remount,ro,bind / && mount -t tmpfs tmpfs /tmp &&
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def build_context() -> set[str]:
    """What .dockerignore leaves, as Docker's own library reads it: files and folders, relative to the root."""
    return set(exclude_paths(str(ROOT), (ROOT / ".dockerignore").read_text().splitlines()))


@dataclass(frozen=True, slots=True)
class Image:
    folder: Path
    environment: dict[str, str]
    last: list[Instruction]

    def here(self, text: str) -> str:
        return text.replace("/opt/", f"{self.folder}/opt/")

    def command(self, *words: str) -> list[str]:
        """As the image's user if we may become that one, within a root that cannot be written if we may make one."""
        if os.geteuid() != 0:
            return [*words]
        shutting_in = ["unshare", "--mount", "sh", "-c", _SHUT_IN, "sh"]
        if run(*shutting_in, "true").returncode == 0:
            return [*shutting_in, *words]
        return ["setpriv", "--reuid", "10001", "--regid", "10001", "--clear-groups", "--no-new-privs", *words]

    def start(self, *words: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(*words),
                env=self.environment | environment,
                cwd="/",
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def build(folder: Path) -> Image:
    """Carries out the stage `build` of the gateway's Dockerfile, with a Python that the image's user may run too."""
    *_, building, last = stages(DEPLOY / "gateway.Dockerfile")
    source = folder / "opt" / "src"
    source.mkdir(parents=True)
    image = Image(folder, {}, last)
    for step in building:
        if step.name == "COPY" and "--from" not in step.text:
            *sources, target = step.words
            for one in sources:
                _copy(one, source / target / (one.rsplit("/", 1)[-1] if target == "./" else ""))
        elif step.name == "RUN":
            done = run("sh", "-euc", image.here(step.text), cwd=source, env=_building())
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
    environment = {name: image.here(value) for name, value in environment_of(last).items()}
    environment["PATH"] = environment["PATH"].replace("$PATH", "/usr/bin:/bin")
    return Image(folder, environment, last)


def _building() -> dict[str, str]:
    uv = Path(tool("uv")).parent
    return {**os.environ, "PATH": f"{uv}:{os.environ['PATH']}", "UV_PYTHON": everybodys_python(), "VIRTUAL_ENV": ""}


def everybodys_python() -> str:
    """Of the image's version, and in no folder that only root may enter."""
    [version] = {step.text.split(":")[1][:4] for stage in stages(DEPLOY / "gateway.Dockerfile") for step in stage
                 if step.name == "FROM" and step.text.startswith("python:")}  # fmt: skip
    for folder in ("/usr/local/bin", "/usr/bin"):
        if os.access(f"{folder}/python{version}", os.X_OK):
            return f"{folder}/python{version}"
    return version


def _copy(name: str, target: Path) -> None:
    """Only what is in the build's context is there to be copied."""
    for one in sorted(build_context()):
        if one == name or one.startswith(f"{name}/"):
            there = target / one.removeprefix(name).lstrip("/") if one != name else target
            if (ROOT / one).is_file():
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / one, there)
