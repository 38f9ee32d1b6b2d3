"""Makes the pictures of the console: a gateway, two engines whose memory fills, forty applications, and Chromium.

python docs/images/make_console.py [--out FOLDER] [--chromium PATH]

Needs playwright (without its browsers) and Pillow, which matplotlib brings.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.fakes.filling_engine import FillingVllm
from tests.fakes.running_gateway import RunningGateway

KINDS = {
    "tau-airline": (3200, 60, 16),
    "hotpot-react": (1800, 40, 14),
    "code-review": (5200, 90, 5),
    "chat": (1100, 30, 8),
}
"""Prompt tokens, answer tokens, calls: means."""

NUM_APPLICATIONS = 46
LOOKS = {
    "console-light": {"color_scheme": "light", "viewport": {"width": 1240, "height": 1000}},
    "console-dark": {"color_scheme": "dark", "viewport": {"width": 1240, "height": 1000}},
    "console-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


async def make(out: Path, chromium: str) -> None:
    engines = (
        FillingVllm(24_000, max_num_seqs=8, iteration_s=0.03),
        FillingVllm(16_000, max_num_seqs=6, iteration_s=0.03),
    )
    async with engines[0], engines[1]:
        with tempfile.TemporaryDirectory() as folder:
            flags = [flag for engine in engines for flag in ("--engine", engine.url)]
            environment = {
                "XDG_STATE_HOME": folder,
                "JUSTITIA_LEARNING__TRAINS": "false",
                "JUSTITIA_SCHEDULING__DISPATCH_MARGIN_CALLS": "1",
            }
            gateway = await asyncio.to_thread(RunningGateway, Path(folder), *flags, environment=environment)
            try:
                await _under_load(gateway, engines, out, chromium)
            finally:
                await asyncio.to_thread(gateway.stop)


async def _under_load(gateway: RunningGateway, engines: Sequence[FillingVllm], out: Path, chromium: str) -> None:
    dice = random.Random(7)
    async with gateway.client() as client:
        work = [asyncio.create_task(_application(client, number, dice)) for number in range(NUM_APPLICATIONS)]
        try:
            await _photograph(gateway.url, engines, client, out, chromium)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def _application(client: httpx.AsyncClient, number: int, dice: random.Random) -> None:
    kind = dice.choice(list(KINDS))
    prompt, answer, calls = KINDS[kind]
    size = dice.lognormvariate(0, 0.5)
    num_rounds = max(2, round(calls * dice.lognormvariate(0, 0.4)))
    cost = 4.5 * num_rounds * (prompt * answer * size**2 + (answer * size) ** 2 / 2) * dice.lognormvariate(0, 0.3)
    await asyncio.sleep(number * 0.6)
    for _ in range(num_rounds):
        calls_at_once = dice.choice((1, 2, 4, 8))
        name = f"{kind}-{number}"
        await asyncio.gather(
            *(_call(client, name, kind, prompt * size, answer * size, cost) for _ in range(calls_at_once))
        )
        await asyncio.sleep(dice.uniform(0.1, 0.6))
    await client.post(f"/v1/applications/{name}/close")


async def _call(client: httpx.AsyncClient, name: str, kind: str, prompt: float, answer: float, cost: float) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "word" * min(7000, int(prompt))}],
        "max_tokens": max(4, int(answer)),
    }
    headers = {"x-justitia-kind": kind, "x-justitia-expected-cost": str(int(cost))}
    await client.post(f"/apps/{name}/v1/chat/completions", json=body, headers=headers)


async def _photograph(
    url: str, engines: Sequence[FillingVllm], client: httpx.AsyncClient, out: Path, chromium: str
) -> None:
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = {name: await browser.new_page(**look) for name, look in LOOKS.items()}
        for page in pages.values():
            await page.goto(f"{url}/console")
        await asyncio.sleep(40)  # for the charts to have something to show
        chosen = await _one_that_waits(client)
        for engine in engines:  # so that it still does when its picture is taken
            engine.is_paused = True
        for name, page in pages.items():
            if "phone" not in name:
                await page.get_by_role("button", name=chosen["id"], exact=True).first.click()
        await asyncio.sleep(3)
        for name, page in pages.items():
            await page.screenshot(path=out / f"{name}.png")
            _make_small(out / f"{name}.png")
        await browser.close()


def _make_small(picture: Path) -> None:
    with Image.open(picture) as photograph:
        small = photograph.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


async def _one_that_waits(client: httpx.AsyncClient) -> dict[str, Any]:
    """Near the front, so that a picture has the head of the page as well."""
    for least in (*[5] * 40, 100):
        rows = (await client.get("/v1/overview")).json()["applications"]
        if (found := next((row for row in rows[1:least] if row["hold"] == "order"), None)) is not None:
            return dict(found)
        await asyncio.sleep(0.5)
    raise AssertionError("nobody waits: the load is too small for this machine")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    args = parser.parse_args(argv)
    asyncio.run(make(args.out, args.chromium))
    return 0


if __name__ == "__main__":
    sys.exit(main())
