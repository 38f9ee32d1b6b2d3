"""The console in a real Chromium, before a gateway in a process of its own: under load, with hostile names, from a
phone, by keyboard alone, and when the gateway goes and comes back."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fakes.filling_engine import FillingVllm
from tests.fakes.running_gateway import RunningGateway
from tests.fakes.waiting import until

TOKEN = "operator-token-0123456789"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
ALICE, BOB = "key-of-alice", "key-of-bob"


pytestmark = pytest.mark.asyncio(loop_scope="module")


def _executable() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        import playwright  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium or playwright is missing: in CI that is a failure, not a reason to skip")
        pytest.skip("chromium or playwright is not installed")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    executable = _executable()
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium: Any) -> AsyncIterator[Any]:
    """One for all tests; every page has a context of its own, which does not outlive its test."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def engine() -> AsyncIterator[FillingVllm]:
    async with FillingVllm(2000, max_num_seqs=3, iteration_s=0.1) as engine:
        yield engine


@asynccontextmanager
async def serving(folder: Path, engine: FillingVllm, **environment: str) -> AsyncIterator[RunningGateway]:
    settings = {"JUSTITIA_SERVER__OPERATOR_TOKEN": TOKEN, "JUSTITIA_SCHEDULING__DISPATCH_MARGIN_CALLS": "1"}
    gateway = await asyncio.to_thread(
        RunningGateway, folder, "--engine", engine.url, environment={**settings, **environment}
    )
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)


@asynccontextmanager
async def load(
    gateway: RunningGateway, engine: FillingVllm, key: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """`first` has the engine, `second` waits for room and `third` for its turn; then the engine stands still."""
    engine.is_paused = False
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with gateway.client(headers=headers) as client:
        calls = []
        for name, cost in (("first", 1e4), ("second", 2e6), ("third", 3e6)):
            await client.post("/v1/applications", json={"id": name, "expected_cost": cost, "kind": f"kind-of-{name}"})
            body = {"model": "tiny", "messages": [{"role": "user", "content": "word" * 500}], "max_tokens": 1900}
            calls += [
                asyncio.create_task(client.post(f"/apps/{name}/v1/chat/completions", json=body)) for _ in range(3)
            ]
            await until(lambda: _are_known(client, len(calls)))  # noqa: B023
        await until(lambda: _holds(engine))
        engine.is_paused = True
        try:
            yield client
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


async def _are_known(client: httpx.AsyncClient, number: int) -> bool:
    found = (await client.get("/v1/overview")).json()
    return bool(found["calls_waiting"] + found["calls_running"] == number)


async def _holds(engine: FillingVllm) -> bool:
    return len(engine.running) == 3


async def opened(browser: Any, url: str, **options: Any) -> Any:
    """A page of the console. What its script complains of, and what is refused it, fails the test (`complaints`)."""
    page = await browser.new_page(**options)
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    await page.goto(f"{url}/console")
    await page.wait_for_function("() => document.getElementById('link-text').textContent === 'live'", timeout=30_000)
    return page


async def text_of(page: Any, selector: str) -> str:
    return str(await page.locator(selector).first.inner_text())


async def shows(page: Any, selector: str, *texts: str) -> None:
    await page.wait_for_function(
        "([selector, texts]) => { const found = document.querySelector(selector);"
        " return found && texts.every((text) => found.innerText.includes(text)); }",
        arg=[selector, list(texts)],
        timeout=30_000,
    )


async def test_it_shows_the_order_and_why_one_waits(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        page = await opened(browser, gateway.url)
        await page.wait_for_selector("#rows tr:nth-child(3)")
        names = await page.locator("#rows button.name").all_inner_texts()
        assert names == ["first", "second", "third"]
        await shows(page, "#rows tr:nth-child(1)", "3 running", "kind-of-first")
        await shows(page, "#rows tr:nth-child(3)", "3 waiting", "waits its turn", "3M")
        await shows(page, "#cards", "KV memory", "of 2k tokens", "3 of 3 running", "first")
        assert (await page.locator(".chart .line").first.get_attribute("d")).startswith("M")
        await page.get_by_role("button", name="third").click()
        await shows(page, "#why", "It waits for its turn.", "3 of 3", "Ahead of it", "second")
        assert page.url.endswith("#anonymous%2Fthird")
        await page.locator("#why").get_by_role("button", name="second").click()
        await shows(page, "#why", "second", "2 of 3")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#why", state="detached")
        assert page.complaints == []


async def test_names_are_text_and_nothing_else(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    """The gateway makes names safe; the page does not count on it."""
    async with serving(tmp_path, engine) as gateway, gateway.client() as client:
        await client.post("/v1/applications", json={"id": "one", "expected_cost": 5.0})
        answer = (await client.get("/v1/overview", params={"application": "anonymous/one"})).json()
        assert answer["chosen"] is not None
        for row in (answer["applications"][0], answer["chosen"]["application"]):
            row |= {
                "id": HOSTILE,
                "kind": HOSTILE,
                "tenant": HOSTILE,
                "hold": HOSTILE,
                "engines": {HOSTILE: 1},
                "calls_running": 1,
            }
        answer["chosen"]["ahead"] = [
            {
                "position": 1,
                "tenant": HOSTILE,
                "id": HOSTILE,
                "remaining_cost": 1,
                "calls_waiting": 0,
                "calls_running": 0,
            }
        ]
        answer |= {"version": HOSTILE, "policy": HOSTILE}
        answer["engines"][0] |= {
            "name": HOSTILE,
            "mode": HOSTILE,
            "runs": [{"tenant": "t", "id": HOSTILE, "calls": 1, "waiting": 0}],
        }
        page = await browser.new_page()
        await page.route("**/v1/overview?*", lambda route: route.fulfill(json=answer))
        await page.goto(f"{gateway.url}/console#{'x' * 300}")
        await shows(page, "#rows", HOSTILE)
        await page.locator("#rows button.name").first.click()
        await shows(page, "#why", HOSTILE)
        assert await page.evaluate("window.hacked") is None
        assert await page.locator("main img, main script").count() == 0
        for place in ("#about", "#cards", "#rows", "#why"):
            assert HOSTILE in await text_of(page, place)


async def test_markup_from_a_script_would_be_refused(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway:
        page = await opened(browser, gateway.url)
        refused = await page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x</b>'; } catch (error) { return error.name; } return ''; }"
        )
        assert refused == "TypeError"


async def test_it_can_be_used_by_keyboard_alone(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        page = await opened(browser, gateway.url)
        await page.wait_for_selector("#rows tr:nth-child(3)")
        focused = "document.activeElement.id || document.activeElement.textContent"
        reached = []
        while "first" not in reached and len(reached) < 20:
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate(focused))
            if await page.evaluate("document.activeElement.closest('#cards') !== null"):
                reached.pop()  # the engines' names of applications are links of their own
        assert reached == ["Skip to the order", "key-button", "filter-text", "filter-calls", "first"]
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        assert await page.evaluate(focused) == "third"
        await page.keyboard.press("Enter")
        await shows(page, "#why", "It waits for its turn.")
        await shows(page, "#announcer", "third: It waits for its turn.")
        assert await page.get_by_role("button", name="third").get_attribute("aria-expanded") == "true"
        began = await page.evaluate("performance.now()")
        await page.wait_for_function(f"() => performance.now() > {began} + 2500")  # two answers more: focus stays
        assert await page.evaluate(focused) == "third"
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#why", state="detached")
        assert await page.evaluate(focused) == "third"
        await page.keyboard.press("Home")
        assert await page.evaluate(focused) == "first"
        await page.keyboard.press("Tab")  # a hundred rows are one stop
        assert await page.evaluate("document.activeElement.closest('#rows')") is None


async def test_what_a_screen_reader_finds(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        page = await opened(browser, gateway.url, viewport={"width": 390, "height": 844})
        await page.wait_for_selector("#rows tr:nth-child(3)")
        for role in ("banner", "main", "contentinfo", "search"):
            assert await page.get_by_role(role).count() == 1, role
        assert await page.get_by_role("heading", level=1).inner_text() == "Justitia"
        table = page.get_by_role("table", name="Applications in order of virtual finish time")
        assert await table.get_by_role("columnheader").count() == 7
        assert await table.get_by_role("rowheader").all_inner_texts() == [
            f"{name}\nkind-of-{name}" for name in ("first", "second", "third")
        ]
        assert await table.get_by_role("row").nth(1).get_by_role("cell").count() == 6
        live = await page.locator("[aria-live]").evaluate_all("(found) => found.map((one) => [one.id, one.ariaLive])")
        assert live == [["announcer", "polite"]]
        assert await text_of(page, "#announcer") == ""  # nothing that goes on by itself is read out
        assert await page.get_by_role("img", name="KV memory in use over the last two minutes").count() == 1
        unnamed = await page.evaluate(
            "[...document.querySelectorAll('button, input')].filter((one) => !(one.textContent.trim() ||"
            " one.labels?.length || one.ariaLabel)).length"
        )
        assert unnamed == 0


async def test_on_a_phone_nothing_is_cut_off(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        for width in (320, 390):
            page = await opened(browser, gateway.url, viewport={"width": width, "height": 700}, has_touch=True)
            await page.wait_for_selector("#rows tr:nth-child(3)")
            await page.get_by_role("button", name="third").tap()
            await shows(page, "#why", "It waits for its turn.")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            beyond = await page.evaluate(
                "[...document.querySelectorAll('main *')].filter((one) => !one.closest('thead, .unseen, svg') &&"
                " one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.className)"
            )
            assert beyond == []
            await page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_has_enough_contrast(browser: Any, engine: FillingVllm, tmp_path: Path, scheme: str) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        page = await opened(browser, gateway.url, color_scheme=scheme, reduced_motion="reduce")
        await page.wait_for_selector("#rows tr:nth-child(3)")
        await page.get_by_role("button", name="third").click()
        await shows(page, "#why", "Ahead of it")
        assert await page.evaluate(_CONTRAST) == []
        await page.evaluate("document.getElementById('alarm').hidden = false")
        await page.evaluate("document.getElementById('link').classList.add('is-bad')")
        assert await page.evaluate(_CONTRAST) == []
        moves = "(found) => found.filter((one) => parseFloat(getComputedStyle(one).transitionDuration)).length"
        assert await page.locator("*").evaluate_all(moves) == 0


_CONTRAST = """() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.closest(".unseen, [hidden], dialog:not([open]), noscript, svg")) continue;
    const [a, b] = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


async def test_a_gateway_that_falls_silent_is_told_of_and_comes_back(
    browser: Any, engine: FillingVllm, tmp_path: Path
) -> None:
    async with serving(tmp_path, engine) as gateway, load(gateway, engine):
        page = await opened(browser, gateway.url)
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            await shows(page, "#link-text", "no answer for")
            await shows(page, "#alarm", "No answer for", "What is shown is as old as that")
            await shows(page, "#announcer", "The gateway does not answer any more.")
            assert await page.locator("#rows button.name").count() == 3  # what was known stays
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        await shows(page, "#link-text", "live")
        await page.wait_for_selector("#alarm", state="hidden")
        await shows(page, "#announcer", "The gateway answers again.")


async def test_a_gateway_that_is_started_anew_is_found_again(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    async with serving(tmp_path, engine) as gateway:
        page = await opened(browser, gateway.url)
        await asyncio.to_thread(gateway.stop)
        await shows(page, "#link-text", "no answer for")
        process = await asyncio.create_subprocess_exec(
            *gateway.process.args,  # type: ignore[misc]
            env={**os.environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await shows(page, "#link-text", "live")
        finally:
            process.terminate()
            await process.wait()


async def test_a_key_is_asked_for_and_kept_in_the_tab_only(browser: Any, engine: FillingVllm, tmp_path: Path) -> None:
    keys = json.dumps({ALICE: "alice", BOB: "bob"})
    async with serving(tmp_path, engine, JUSTITIA_TENANTS__API_KEYS=keys) as gateway:
        for name, key in (("bobs-secret", BOB), ("own", ALICE)):
            async with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
                cost = 1.0 if key == BOB else 1e6
                await client.post("/v1/applications", json={"id": name, "expected_cost": cost})
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{gateway.url}/console")
        await shows(page, "#key-dialog", "This gateway wants a key")
        assert await text_of(page, "#link-text") == "a key is needed"
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await shows(page, "#key-dialog", "This key is not known here.")
        await page.keyboard.type(ALICE)
        await page.keyboard.press("Enter")
        await shows(page, "#about", "seen as tenant alice")
        await shows(page, "#rows", "1 application of others", "own")
        assert "secret" not in await page.content()
        kept = "[localStorage.length, document.cookie, sessionStorage.length, location.href.includes('key-of')]"
        assert await page.evaluate(kept) == [0, "", 1, False]
        await page.reload()
        await shows(page, "#about", "seen as tenant alice")
        other_tab = await context.new_page()
        await other_tab.goto(f"{gateway.url}/console")
        await shows(other_tab, "#key-dialog", "This gateway wants a key")
        await page.get_by_role("button", name="Key", exact=True).click()
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await shows(page, "#about", "seen as the operator")
        await shows(page, "#rows", "bobs-secret", "bob", "own")
        await page.get_by_role("button", name="Key", exact=True).click()
        await page.get_by_role("button", name="Forget it").click()
        await shows(page, "#key-dialog", "This gateway wants a key")
        assert await page.evaluate("sessionStorage.length") == 0


async def test_hundreds_of_applications_are_bounded_and_found(
    browser: Any, engine: FillingVllm, tmp_path: Path
) -> None:
    async with serving(tmp_path, engine) as gateway, gateway.client() as client:
        for number in range(320):
            await client.post("/v1/applications", json={"id": f"app-{number}", "expected_cost": float(1 + number)})
        page = await opened(browser, gateway.url)
        await shows(page, "#more", "and 220 more")
        assert await page.locator("#rows tr").count() == 100
        await page.get_by_role("button", name="Show more").click()
        await shows(page, "#more", "and 120 more")
        assert await page.locator("#rows tr").count() == 200
        await page.get_by_role("searchbox").fill("APP-31")
        await shows(page, "#order-note", "11 of 320 applications match.")
        assert await page.locator("#rows tr").count() == 11
        await shows(page, "#announcer", "11 of 320 applications match.")
        assert await page.locator("#more").is_hidden()
        await page.get_by_label("with calls only").check()
        await shows(page, "#order-note", "0 of 320 applications match.")
