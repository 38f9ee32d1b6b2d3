"""What the gateway and its Redis hold at one moment, looked at from outside."""

import json
import os
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.gateway.soak import num_metric_series
from benchmarks.gateway.usage import memory_mib, resident_mib

_PROC = Path("/proc")
_PREFIX = "{justitia}:"
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_PERMANENT = ("keys", "tenants", "keys:revision")
"""Documented to have no time to live."""

Row = dict[str, Any]


def of_process(process: int) -> Row:
    status = (_PROC / str(process) / "status").read_text()
    return {
        "resident_mib": round(resident_mib(process), 2),
        "proportional_mib": round(memory_mib(process), 2),
        "files": len(os.listdir(_PROC / str(process) / "fd")),
        "threads": int(re.findall(r"^Threads:\s+(\d+)", status, re.MULTILINE)[0]),
    }


def of_redis(client: "Redis[bytes]") -> Row:
    """`keys` by what stands behind the prefix; `open`: applications that nobody has closed."""
    keys = Counter(_sort(key) for key in client.scan_iter(count=2000))
    memory = client.info("memory")
    return {
        "redis_mib": round(memory["used_memory"] / 2**20, 2),
        "open_applications": client.zcard(f"{_PREFIX}open"),
        "keys": dict(sorted(keys.items())),
    }


def without_ttl(client: "Redis[bytes]") -> list[str]:
    """Sorts of keys that would stay for ever and are not documented to."""
    found = set()
    for key in client.scan_iter(count=2000):
        if client.ttl(key) == -1:
            found.add(_sort(key))
    return sorted(found - set(_PERMANENT))


def _sort(key: bytes) -> str:
    name = key.decode("utf-8", "replace").removeprefix(_PREFIX)
    return name if name in _PERMANENT else name.partition(":")[0]


def of_gateway(url: str, operator_token: str) -> Row:
    text = _get(f"{url}/metrics")
    overview = json.loads(_get(f"{url}/v1/overview?limit=1", operator_token))
    values = {(name, value) for name, value in _LABEL.findall(text) if name not in ("le", "quantile")}
    return {
        "series": num_metric_series(text),
        "label_values": len(values),
        "waiting": overview["calls_waiting"],
        "running": overview["calls_running"],
        "outcomes": _outcomes(text),
    }


def _outcomes(text: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for labels, value in re.findall(r"^justitia_calls_total\{([^}]*)\} (\S+)$", text, re.MULTILINE):
        found[dict(_LABEL.findall(labels))["outcome"]] += int(float(value))
    return dict(sorted(found.items()))


def _get(url: str, token: str | None = None) -> str:
    request = urllib.request.Request(url, headers={} if token is None else {"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: bytes = answer.read()
        return text.decode()
