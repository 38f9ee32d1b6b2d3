"""`/console`: the files as they are served, and that they are in what is shipped."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from tests.http.gateways import RunningGateway

NAMES = sorted(
    entry.name for entry in files("gateway.console").iterdir() if entry.name.endswith(("html", "css", "js", "svg"))
)
ROOT = Path(__file__).parent.parent.parent


def test_there_is_something_to_serve() -> None:
    assert {"index.html", "console.css", "console.js", "icon.svg"} <= set(NAMES)


async def test_the_page_may_load_nothing_but_its_own_files_and_answers(gateway: RunningGateway) -> None:
    for path in ("/console", *(f"/console/{name}" for name in NAMES)):
        answer = await gateway.client.get(path)
        assert answer.status_code == 200, path
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[f"{what}-src"] for what in ("script", "style", "img", "connect")} == {"'self'"}
        assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-type"].split(";")[0] in (
            "text/html", "text/css", "text/javascript", "image/svg+xml",
        )  # fmt: skip


async def test_the_page_names_only_files_that_are_there(gateway: RunningGateway) -> None:
    page = (await gateway.client.get("/console")).text
    named = set(re.findall(r'(?:href|src)="([^"#]+)"', page))
    assert named == {"console/icon.svg", "console/console.css", "console/console.js"}
    for name in NAMES:
        text = (await gateway.client.get(f"/console/{name}")).text
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in NAMES, name
        # The name of SVG's namespace is an address that nobody visits.
        assert not re.search(
            r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", re.sub(r"^\s*//.*$", "", text, flags=re.M)
        ), name


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("js")])
def test_no_text_becomes_markup_or_code(name: str) -> None:
    """Chromium refuses it too (`require-trusted-types-for`); other browsers may not."""
    script = (files("gateway.console") / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|localStorage|cookie", script
    )


async def test_a_browser_that_has_a_file_is_not_sent_it_again(gateway: RunningGateway) -> None:
    first = await gateway.client.get("/console")
    again = await gateway.client.get("/console", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await gateway.client.get("/console", headers={"if-none-match": '"other"'})
    assert other.content == first.content


@pytest.mark.parametrize(
    "path", ["none.js", "__init__.py", "..%2Fsettings.py", "%2e%2e/settings.py", "..%2f..%2fetc%2fpasswd", "a/b"]
)
async def test_nothing_else_is_served(gateway: RunningGateway, path: str) -> None:
    answer = await gateway.client.get(f"/console/{path}")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_the_page_is_only_read(gateway: RunningGateway) -> None:
    assert (await gateway.post("/console")).status_code == 405


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    if "No module named 'hatchling'" in built.stderr:
        assert not os.environ.get("CI"), "hatchling is missing: in CI that is a failure, not a reason to skip"
        pytest.skip("hatchling, which builds the wheel, is not installed")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert {f"gateway/console/{name}" for name in NAMES} <= set(zipfile.ZipFile(wheel).namelist())


_BUILD = """
import os, sys
os.chdir(sys.argv[1])
from hatchling.build import build_wheel
build_wheel(sys.argv[2])
"""
