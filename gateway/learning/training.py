"""Training in a process of its own: it takes a core for some seconds, and the gateway's own must stay free."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Mapping

log = logging.getLogger(__name__)

_PATIENCE_S = 1800.0
NOTHING_BETTER = 3
"""Exit status of `justitia train --publish` when what it trained is no better than the kind's mean."""


class TrainingProcess:
    """`environment`: what settings the process needs; secrets do not belong on a command line."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def __call__(self) -> bool:
        """True if something was published. The process ends with whoever waits for it here."""
        try:
            process = await self._started()
        except OSError as error:  # no memory, no process left
            log.warning("training could not be started: %s", error)
            return False
        try:
            async with asyncio.timeout(_PATIENCE_S):
                _, errors = await process.communicate()
        except TimeoutError:
            log.warning("training took longer than %g s and was ended", _PATIENCE_S)
            return False
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        if process.returncode not in (0, NOTHING_BETTER):
            log.warning("training failed (%s): %s", process.returncode, *last or ("it said nothing",))
        return process.returncode == 0

    async def _started(self) -> asyncio.subprocess.Process:
        gently = ("nice", "-n", "10") if shutil.which("nice") else ()
        return await asyncio.create_subprocess_exec(
            *gently,
            sys.executable,
            "-m",
            "gateway.cli",
            "train",
            "--publish",
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
