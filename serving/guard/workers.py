"""The pool of worker processes: bounded waiting, a time limit for each look, and a new process for one that broke."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

import orjson

from serving.guard.policy import Policy
from serving.guard.worker import FRAME, frame
from winnow.errors import UserError

_START_SECONDS = 300.0
_LARGEST_ANSWER = 512 << 20


class BusyError(Exception):
    """Too many are waiting."""


class ScorerError(Exception):
    """A look failed: the process broke, took too long, or a model raised."""


def settings_of(policy: Policy) -> dict[str, Any] | None:
    """What the workers are started with; None if the policy needs none because nothing is looked at."""
    from curate.signals.clip import SHIPPED

    images = policy.images
    texts = {
        name: (*SHIPPED[name], 100.0)
        if one.texts == "shipped"
        else (one.texts.positive, one.texts.negative, one.texts.scale)
        for name, one in images.prompts.items()
    }
    classifier = policy.text_in.classifier
    if images.most == 0 and classifier is None:
        return None
    return {
        "caps": {"max_bytes": images.max_bytes, "max_pixels": images.max_pixels},
        "nsfw": images.nsfw is not None,
        "ocr": images.ocr,
        "clip": images.clip.model_dump() if images.clip else None,
        "prompts": texts,
        "always": images.rewrite == "always",
        "classifier": {"model": str(classifier.model), "label": classifier.label} if classifier else None,
    }


class Workers:
    """Processes of ``serving.guard.worker``; start them with ``start`` and end them with ``stop``."""

    def __init__(self, policy: Policy) -> None:
        self._settings = settings_of(policy)
        self._count, self._timeout, self._most = policy.images.workers, policy.images.timeout, policy.images.queue
        self._idle: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._all: set[asyncio.subprocess.Process] = set()
        self.waiting = 0

    async def start(self) -> None:
        """Start all processes.

        Raises:
            UserError: a model cannot be loaded.
        """
        if self._settings is None:
            return
        try:
            for process in await asyncio.gather(*(self._started() for _ in range(self._count))):
                self._idle.put_nowait(process)
        except ScorerError as error:
            await self.stop()
            raise UserError(str(error)) from error

    async def stop(self) -> None:
        """End all processes."""
        for process in list(self._all):
            await self._end(process)

    async def look(self, what: str, data: bytes) -> tuple[dict[str, Any], bytes]:
        """Have an ``image`` or a ``text`` looked at.

        Raises:
            BusyError: too many are waiting.
            ScorerError: it could not be looked at.
        """
        if self.waiting >= self._most + self._count:
            raise BusyError
        self.waiting += 1
        try:
            process = await self._idle.get()
            try:
                if process is None:
                    process = await self._started()
                async with asyncio.timeout(self._timeout):
                    answer, made = await self._asked(process, {"what": what}, data)
            except BaseException as error:  # of a cancelled request too: the frame is half read
                if process is not None:
                    await asyncio.shield(self._end(process))
                    process = None
                if isinstance(error, TimeoutError):
                    raise ScorerError(f"no answer in {self._timeout:g} seconds") from error
                if isinstance(error, OSError | EOFError | asyncio.IncompleteReadError):
                    raise ScorerError("the process that looks at images has ended") from error
                raise
            finally:
                self._idle.put_nowait(process)
        finally:
            self.waiting -= 1
        if failed := answer.get("failed"):
            raise ScorerError(str(failed))
        return answer, made

    async def _started(self) -> asyncio.subprocess.Process:
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serving.guard.worker", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, env={**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        self._all.add(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                answer, _ = await self._asked(process, self._settings or {}, b"")
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            await self._end(process)
            raise ScorerError("the process that looks at images does not start") from error
        if failed := answer.get("failed"):
            await self._end(process)
            raise ScorerError(str(failed))
        return process

    async def _asked(
        self, process: asyncio.subprocess.Process, head: dict[str, Any], data: bytes
    ) -> tuple[dict[str, Any], bytes]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(frame(head, data))
        await process.stdin.drain()
        first, second = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
        if first + second > _LARGEST_ANSWER:
            raise EOFError
        answer = orjson.loads(await process.stdout.readexactly(first))
        return answer, await process.stdout.readexactly(second)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._all.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# Nothing else of the guard's environment, which may hold keys, reaches a process that decodes strangers' images.
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "VIRTUAL_ENV",
)
