"""A gateway as a program sees it: what to tell a client of it, and whether its calls were understood.

`front` (a fixture) has a scripted engine behind it, `real_front` the real one. Both are asked the same way.
"""

import re
from typing import Any

import httpx

from tests.end_to_end.clients.grouping import KEY, Way
from tests.fakes.running_engine import RunningEngine
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import RunningGateway, until


class Front:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self.key = key

    def openai(self, way: Way) -> Any:
        """What the OpenAI library wants to be told, and whatever is built upon it."""
        return self._options(way) | {"base_url": self.openai_url(way)}

    def anthropic(self, way: Way) -> Any:
        return self._options(way) | {"base_url": self.anthropic_url(way)}

    def openai_url(self, way: Way) -> str:
        return f"{self.anthropic_url(way)}/v1"

    def anthropic_url(self, way: Way) -> str:
        """Anthropic's clients bring /v1 themselves."""
        return self._url + way.prefix

    def _options(self, way: Way) -> dict[str, object]:
        # A test that needs a second try has failed.
        return {"api_key": self.key, "max_retries": 0, "default_headers": dict(way.headers) or None}


class ScriptedFront(Front):
    """Before a model that follows a script."""

    def __init__(self, gateway: RunningGateway, engine: ScriptedVllm) -> None:
        super().__init__(gateway.url, KEY)
        self.gateway = gateway
        self.engine = engine

    async def check_one_application(self, way: Way, *, num_calls: int) -> None:
        """All calls so far were one application's, by the rule of `way`, and the gateway tells of it."""
        assert len(self.engine.calls) == num_calls
        assert way.application in (None, self.application())
        assert await self.gateway.metric("identity_total", rule=way.rule) == num_calls - way.continues
        assert await self.gateway.metric("identity_total") == num_calls
        if not way.continues:  # of which there are tests of their own
            await self.check_is_open()

    def application(self) -> str:
        """The name of the one application whose calls the engine was sent."""
        applications = {call.header("x-session-id") for call in self.engine.calls}
        assert len(applications) == 1, applications
        return str(applications.pop()).rpartition("/")[2]

    async def check_is_open(self) -> None:
        """It is the only application that is open, and charged for all calls so far: none of them has closed it."""

        async def is_charged_for_all() -> bool:
            listed = await self.gateway.client.get("/v1/applications", headers={"authorization": f"Bearer {KEY}"})
            return [(one["id"], one["service"]) for one in listed.json()["data"]] == [
                (self.application(), self.engine.service)
            ]

        await until(is_charged_for_all)


class RealFront(Front):
    """Before the real engine, for a tenant of its own: other tests may have used both before."""

    def __init__(self, url: str, key: str, engine: RunningEngine) -> None:
        super().__init__(url, key)
        self.engine = engine
        self._since = engine.mark()
        self._rules_before = rules_counted(url)

    def applications(self) -> set[str]:
        """Whose calls the engine's scheduler has seen."""
        events = self.engine.events(self._since)
        return {event["application_id"].rpartition("/")[2] for event in events if event["event"] == "scheduled"}

    def listed(self) -> list[dict[str, Any]]:
        """Its open applications, as the gateway tells of them."""
        headers = {"authorization": f"Bearer {self.key}"}
        found: list[dict[str, Any]] = httpx.get(f"{self._url}/v1/applications", headers=headers).json()["data"]
        return found

    def service(self) -> float:
        """Of its one application."""
        (application,) = self.listed()
        return float(application["service"])

    def no_blanks(self) -> dict[str, int]:
        """`logit_bias`: JSON may have blanks, and random weights would write little else."""
        return dict.fromkeys(map(str, self.engine.blank_tokens()), -100)

    def check_one_application(self, way: Way, *, num_calls: int) -> None:
        """To the engine's scheduler and to the gateway, found by the rule of `way`."""
        (application,) = self.applications()
        assert way.application in (None, application)
        listed = [(one["id"], one["calls_ended"]) for one in self.listed()]
        assert listed == [(application, num_calls)], listed
        now, before = rules_counted(self._url), self._rules_before
        counted = {rule: now[rule] - before.get(rule, 0) for rule in now if now[rule] != before.get(rule, 0)}
        expected = {way.rule: num_calls - 1, "none": 1} if way.continues else {way.rule: num_calls}
        assert counted == expected, counted


_COUNTED = re.compile(r'^justitia_identity_total\{.*rule="(\w+)".*\} (\S+)$', re.MULTILINE)


def rules_counted(url: str) -> dict[str, int]:
    """Calls so far by the rule that named them."""
    found = _COUNTED.findall(httpx.get(f"{url}/metrics").text)
    return {rule: int(float(count)) for rule, count in found}
