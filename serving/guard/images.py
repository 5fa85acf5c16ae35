"""Images on their way to the model: caps before decoding, scores once for each content, text in them as a prompt."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from curate.readers.images.download import FetchError, PartialDownload, attempt, checked_socket, parsed
from curate.settings.sources import RemoteSettings
from serving.guard.corrections import digest
from serving.guard.policy import Policy, Remote
from serving.guard.prompts import PromptCheck
from serving.guard.request import ImagePart, RefusedError
from serving.guard.workers import BusyError, ScorerError, Workers
from winnow.media.images import IMAGE_SUFFIXES, suffix_of

_MIME = {".jpg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp",
         ".tif": "image/tiff", ".avif": "image/avif", ".heic": "image/heic", ".jp2": "image/jp2"}  # fmt: skip
_LARGE = 1 << 18  # bytes that are hashed and written as base64 in a thread
_REENCODED = 256 << 20  # bytes of forwarded pixels that are kept


@dataclass(frozen=True)
class Look:
    """What is remembered of an image.

    Attributes:
        error: a class of ``winnow.media.images``, or None.
        scores: ``nsfw`` and the names of prompts.
        text: read off it.
        replaced: whether other bytes than its own are forwarded.
    """

    error: str | None
    format: str | None
    width: int
    height: int
    scores: dict[str, float]
    text: str
    replaced: bool


class ImageCheck:
    """What a policy does with images."""

    def __init__(self, policy: Policy, workers: Workers, prompts: PromptCheck) -> None:
        self._policy, self._workers, self._prompts = policy, workers, prompts
        self._known: OrderedDict[str, Look] = OrderedDict()
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._made_bytes = 0
        self._running: dict[str, asyncio.Task[tuple[Look, bytes]]] = {}
        self.hits = 0

    async def check(self, part: ImagePart, allowed: frozenset[str]) -> str:
        """Look at one image and put what is forwarded into the request; returns its digest.

        Raises:
            RefusedError: it is not let through.
        """
        data = part.data if part.data is not None else await self._fetched(part.url)
        self._check_bytes(data)
        name = await asyncio.to_thread(digest, data) if len(data) > _LARGE else digest(data)
        try:
            look, forwarded = await self._look(name, data)
        except BusyError:
            raise RefusedError(503, "busy", "Too many images are waiting", stage="image", retry_after=2) from None
        except ScorerError as error:
            if self._policy.on_failure == "block":
                raise RefusedError(
                    503, "scorer_failed", "The image could not be checked", stage="image", rule=f"scorer: {error}"
                ) from None
            look, forwarded = Look(None, None, 1, 1, {}, "", replaced=False), data
        self._judge(look, data, name, allowed)
        url = await asyncio.to_thread(_address, forwarded) if len(forwarded) > _LARGE else _address(forwarded)
        part.put(url)
        return name

    def _check_bytes(self, data: bytes) -> None:
        images = self._policy.images
        if len(data) > images.max_bytes:
            raise _refused("image_too_large", f"An image has more than {images.max_bytes:,} bytes")
        suffix = suffix_of(data)
        if not suffix:
            raise _refused("invalid_image", "What was sent as an image is none")
        if (kind := IMAGE_SUFFIXES.get(suffix, suffix)) not in images.formats:  # its decoder is not tried on it
            raise _refused("image_format", f"Images must be {', '.join(images.formats)}", rule=f"format/{kind}")

    async def _look(self, name: str, data: bytes) -> tuple[Look, bytes]:
        known = self._known.get(name)
        if known is not None and (not known.replaced or name in self._made):
            self.hits += 1
            self._known.move_to_end(name)
            return known, self._made.get(name, data)
        task = self._running.get(name)
        if task is None:  # several requests with the same new image wait for one look
            task = asyncio.ensure_future(self._looked(name, data))
            self._running[name] = task
            task.add_done_callback(lambda done: (self._running.pop(name, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def _looked(self, name: str, data: bytes) -> tuple[Look, bytes]:
        found, made = await self._workers.look("image", data)
        scores = dict(found.get("prompts") or {})
        if "nsfw" in found:
            scores["nsfw"] = found["nsfw"]
        look = Look(
            found["error"], found["format"], found["width"] or 0, found["height"] or 0, scores, found.get("text") or "",
            replaced=bool(made),
        )  # fmt: skip
        self._known[name] = look
        if len(self._known) > self._policy.images.remembered:
            self._known.popitem(last=False)
        if made:
            self._made_bytes += len(made) - len(self._made.pop(name, b""))
            self._made[name] = made
            while self._made_bytes > _REENCODED and len(self._made) > 1:
                self._made_bytes -= len(self._made.popitem(last=False)[1])
        return look, made or data

    def _judge(self, look: Look, data: bytes, name: str, allowed: frozenset[str]) -> None:
        images = self._policy.images
        if look.error in ("too_large_pixels", "too_large_bytes"):
            raise _refused("image_too_large", f"An image has more than {images.max_pixels:,} pixels")
        if look.error:
            raise _refused("invalid_image", "An image cannot be decoded", rule=f"decode/{look.error}")
        if look.format is not None and look.format.replace("MPO", "JPEG") not in images.formats:
            raise _refused("image_format", f"Images must be {', '.join(images.formats)}", rule=f"format/{look.format}")
        if max(look.width, look.height) > images.max_side:
            raise _refused("image_too_large", f"An image is longer than {images.max_side:,} pixels")
        if name in allowed:
            return
        limits = {prompt: one.above for prompt, one in images.prompts.items()}
        if images.nsfw is not None:
            limits["nsfw"] = images.nsfw
        for score, value in look.scores.items():
            if value > limits[score]:
                raise _refused(
                    "image_not_allowed", "An image is not let through", rule=score, contents=data, score=value
                )
        if look.text:
            self._prompts.check_image_text(look.text, data, allowed)

    async def _fetched(self, url: str) -> bytes:
        remote = self._policy.images.remote
        if remote is None:
            raise _refused("remote_image", "Images behind addresses are not taken; send a data address")
        try:
            host = (parsed(url).host or "").lower()
            if "*" not in remote.hosts and host not in remote.hosts:
                raise FetchError("remote_denied", "host")
            return await _download(url, remote, self._policy.images.max_bytes, self._policy.images.max_pixels)
        except FetchError as error:
            raise _refused("remote_image", "An image could not be fetched", rule=f"remote/{error.kind}") from None


async def _download(url: str, remote: Remote, max_bytes: int, max_pixels: int) -> bytes:
    """The bytes behind an address, by curation's rules: public addresses only, checked for every connection."""
    settings = RemoteSettings(
        deadline=remote.deadline, timeout=remote.deadline, max_redirects=remote.max_redirects,
        allow_private=remote.allow_private,
    )  # fmt: skip
    connector = aiohttp.TCPConnector(
        limit=1, force_close=True, socket_factory=None if remote.allow_private else checked_socket
    )
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        partial = PartialDownload(Path(folder) / "image", max_bytes)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        ) as session:
            await attempt(session, url, partial, settings)
        return partial.finish(max_pixels)


def _address(data: bytes) -> str:
    mime = _MIME.get(suffix_of(data), "application/octet-stream")
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _refused(
    code: str, message: str, *, rule: str = "", contents: bytes | None = None, score: float | None = None
) -> RefusedError:
    return RefusedError(400, code, message, stage="image", rule=rule, contents=contents, score=score)
