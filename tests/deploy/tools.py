"""What the tests of images, Compose and Kubernetes share: the tools that operators use, and what these files say."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from gateway.engine_command import engine_argv
from gateway.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]

DURATION_S = {"s": 1, "m": 60, "h": 3600}
SIZE_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def tool(name: str) -> str:
    """Its path. In CI a missing one is a failure."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name, path=f"{os.environ['PATH']}:{_user_base()}")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: in CI that is a failure, not a reason to skip")
        pytest.skip(f"{name} is not installed")
    return found


def _user_base() -> Path:
    return Path.home() / ".local" / "bin"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """The instructions of each stage, the first of each its FROM."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    found: list[list[Instruction]] = []
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, rest.strip()))
    return found


def environment_of(stage: list[Instruction]) -> dict[str, str]:
    return dict(word.split("=", 1) for one in stage if one.name == "ENV" for word in one.words)


def serve_settings(arguments: list[str], environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What `justitia serve` would serve: from its own command line, and the environment that its container has."""
    for name in list(os.environ):
        if name.startswith("JUSTITIA_"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    served: list[Settings] = []
    monkeypatch.setattr("gateway.server.run", lambda settings: served.append(settings) or 0)
    monkeypatch.setattr("gateway.workers.run", lambda settings, _: served.append(settings) or 0)
    monkeypatch.setattr("gateway.logs.set_up", lambda *_: None)
    assert arguments[0] == "serve"
    assert main(arguments) == 0
    # What is misspelt below a group is found here.
    assert load_settings(environment).engines.urls == served[0].engines.urls
    return served[0]


_VLLM_READS = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
read = [parser.parse_args(argv) for argv in json.load(sys.stdin)]
print(json.dumps([[one.model, one.host, one.port, one.shutdown_timeout] for one in read]))
"""


@dataclass(frozen=True, slots=True)
class EngineFlags:
    model: str
    host: str
    port: int
    shutdown_timeout: int
    """Seconds."""


def engine_flags(commands: list[list[str]]) -> list[EngineFlags]:
    """vLLM's own reading of what follows `justitia engine` in each, after the flags that are put before. Half a minute,
    since it loads vLLM."""
    argvs = [engine_argv(model, flags, has_gpu=False)[2:] for model, *flags in commands]
    answer = run(sys.executable, "-c", _VLLM_READS, input=json.dumps(argvs))
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [EngineFlags(*one) for one in json.loads(answer.stdout.splitlines()[-1])]


def seconds(text: str) -> float:
    return sum(float(number) * DURATION_S[unit] for number, unit in re.findall(r"([\d.]+)([smh])", text))


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]*)", text).groups()
    return int(number) * (SIZE_BYTES[unit] if unit else 1)


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def has_exact_version(image: str) -> bool:
    """At least three numbers, so that it is the same image tomorrow, as far as tags can say."""
    return re.fullmatch(r"[^:@]+:v?\d+\.\d+\.\d+([-.][\w.-]+)?", image) is not None


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping within."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from walk(one)
