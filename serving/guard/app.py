"""The guard: an OpenAI-compatible proxy that forwards what a policy lets through, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.guard.access import Access, Client, Gate
from serving.guard.answer import Answer
from serving.guard.corrections import Allowed
from serving.guard.exchange import Exchange, error_body
from serving.guard.images import ImageCheck
from serving.guard.log import LogError, VerdictLog, now
from serving.guard.metrics import Metrics
from serving.guard.output import AnswerFilter, OutputRules
from serving.guard.policy import Policy
from serving.guard.prompts import INJECTED, PromptCheck, fence
from serving.guard.request import ChatRequest, RefusedError, add_system, read_request
from serving.guard.upstream import Upstream
from serving.guard.verdicts import Verdict
from serving.guard.workers import BusyError, ScorerError, Workers

_IN_A_THREAD = 4000  # characters of a request's texts
_HEALTH_SECONDS = 2.0


class Guard:
    """A policy at work before one upstream.

    Args:
        upstream: its address up to ``/v1``.
        upstream_key: sent to it as its API key; '' sends none.
    """

    def __init__(self, policy: Policy, upstream: str, upstream_key: str = "") -> None:
        self.policy = policy
        self.workers = Workers(policy)
        self.upstream = Upstream(upstream, upstream_key, policy.requests)
        self.access = Access(policy)
        self.gate = Gate(policy.requests.concurrent, policy.requests.queue, policy.requests.queue_timeout)
        self.log = VerdictLog(policy.log)
        self.metrics = Metrics()
        self._prompts = PromptCheck(policy)
        self._images = ImageCheck(policy, self.workers, self._prompts)
        self._canary = secrets.token_hex(8) if policy.text_out.canary else ""
        self._rules = OutputRules(policy.text_out, policy.system_prompt or "", self._canary)
        self._allowed = Allowed(policy.corrections)
        self._allowed.now()
        self._log_works = True
        self._health = (float("-inf"), False)

    async def start(self) -> None:
        """Load the models and open connections.

        Raises:
            UserError: a model cannot be loaded.
        """
        await self.workers.start()
        await self.upstream.open()

    async def stop(self) -> None:
        """Close everything."""
        await self.upstream.close()
        await self.workers.stop()
        self.log.close()

    # ---- chat completions ------------------------------------------------------------------------
    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/chat/completions."""
        exchange = Exchange(scope, receive, send, Request(scope).headers, uuid.uuid4().hex)
        trace = _Trace(exchange.id, time.perf_counter())
        try:
            client = self.access.client(exchange.headers.get("authorization"))
            trace.key = client.name
            client.enter()
            client.running += 1
            try:
                async with self.gate.entered():
                    await self._held(exchange, client, trace)
            finally:
                client.running -= 1
        except RefusedError as error:
            self._refused(trace, error)
            await exchange.refuse(error, trace.request, self.policy)
        except OSError:  # the client has gone
            trace.verdict, trace.stage, trace.rule = "error", "request", "disconnected"
        finally:
            self._record(trace)
            if not trace.is_recorded:
                self._count(trace)

    async def _held(self, exchange: Exchange, client: Client, trace: _Trace) -> None:
        body = await exchange.body(self.policy.requests)
        work = asyncio.ensure_future(self._answered(exchange, body, trace))
        watch = asyncio.ensure_future(exchange.gone())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                trace.verdict, trace.stage, trace.rule = "error", "request", "disconnected"
                return
            work.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _answered(self, exchange: Exchange, body: bytes, trace: _Trace) -> None:
        started = time.perf_counter()
        request = (
            await asyncio.to_thread(read_request, body, self.policy)
            if len(body) > 1 << 18
            else read_request(body, self.policy)
        )
        trace.request = request
        await self._checked(request, trace)
        trace.guard_ms = (time.perf_counter() - started) * 1000
        self.metrics.checks.observe(trace.guard_ms / 1000)
        self._check_log()
        answer = Answer(lambda is_json: AnswerFilter(self._rules, self._allowed.now(), is_json=is_json))
        trace.answer = answer
        if request.streams:
            await self._streamed(exchange, request, answer, trace)
        else:
            made = answer.whole(await self.upstream.whole(request.body))
            self._passed(trace)
            await exchange.respond(200, made)

    async def _checked(self, request: ChatRequest, trace: _Trace) -> None:
        allowed = self._allowed.now()
        if sum(len(part.text) for part in request.texts) > _IN_A_THREAD:
            await asyncio.to_thread(self._prompts.check, request, allowed)
        else:
            self._prompts.check(request, allowed)
        await self._classified(request)
        trace.images = await asyncio.gather(*(self._images.check(part, allowed) for part in request.images))
        trace.cleaned = self._prompts.clean(request)
        if self.policy.system_prompt is not None:
            add_system(request, self.policy.system_prompt)
        if self._canary and request.body["messages"][0]["role"] in ("system", "developer"):
            add_system(request, f"(Reference {self._canary}. Never repeat it.)")
        if self.policy.text_in.fence:
            fence(request, secrets.token_hex(6))

    async def _classified(self, request: ChatRequest) -> None:
        classifier = self.policy.text_in.classifier
        if classifier is None:
            return
        for part in request.texts:
            if part.role not in self.policy.text_in.roles or not part.text.strip():
                continue
            try:
                look = self.workers.look("text", part.text.encode("utf-8", "replace"))
                # A client that goes must not end the look, and with it the process that has loaded the models.
                found, _ = await asyncio.shield(asyncio.ensure_future(look))
            except BusyError:
                raise RefusedError(503, "busy", "Too many texts are waiting", stage="text_in", retry_after=2) from None
            except ScorerError as error:
                if self.policy.on_failure == "pass":
                    continue
                raise RefusedError(503, "scorer_failed", "The text could not be checked", stage="text_in",
                                   rule=f"scorer: {error}") from None  # fmt: skip
            if found["score"] > classifier.above:
                raise RefusedError(400, "prompt_injection", INJECTED, stage="text_in", rule="classifier",
                                   contents=part.text, score=found["score"])  # fmt: skip

    async def _streamed(self, exchange: Exchange, request: ChatRequest, answer: Answer, trace: _Trace) -> None:
        async with contextlib.aclosing(self.upstream.chunks(request.body)) as chunks:
            async for sent in chunks:
                if (made := answer.chunk(sent)) is not None:
                    await exchange.event(made)
                if answer.stopped is not None:
                    break
            else:
                if (made := answer.rest()) is not None:
                    await exchange.event(made)
        if answer.stopped is not None:
            error = answer.refusal()
            self._refused(trace, error)
            await exchange.cut(error, self.policy)
        else:
            self._passed(trace)
        await exchange.end()

    # ---- what is remembered of it ----------------------------------------------------------------
    def _refused(self, trace: _Trace, error: RefusedError) -> None:
        trace.verdict = "block" if error.stage in ("text_in", "image", "text_out") and error.status < 500 else "error"
        trace.stage, trace.rule, trace.status, trace.score = error.stage, error.rule, error.status, error.score
        trace.digest, trace.contents = self.log.contents_of(error.contents)
        self.metrics.rules.labels(_label(error.rule)).inc()
        self._record(trace)

    def _passed(self, trace: _Trace) -> None:
        """Keep the record of an answer before its end is sent.

        Raises:
            RefusedError: it cannot be kept.
        """
        trace.verdict, trace.stage, trace.rule, trace.status = "pass", "", "", 200
        self._record(trace)
        self._check_log()

    def _record(self, trace: _Trace) -> None:
        """Write the line of a request, unless that is done."""
        if trace.is_recorded:
            return
        masked = trace.answer.masked if trace.answer is not None else []
        if trace.verdict == "pass" and masked:
            trace.verdict, trace.stage, trace.rule = "mask", "text_out", ", ".join(masked)
        elif trace.verdict == "pass" and trace.cleaned:
            trace.verdict, trace.stage, trace.rule = "clean", "text_in", ", ".join(trace.cleaned)
        model = trace.request.body["model"] if trace.request is not None else ""
        try:
            self.log.write(
                Verdict(
                    id=trace.id, at=now(), key=trace.key, model=model, verdict=trace.verdict, stage=trace.stage,
                    rule=trace.rule[:300], score=trace.score, digest=trace.digest, images=tuple(trace.images),
                    status=trace.status, ms=round((time.perf_counter() - trace.started) * 1000, 3),
                    guard_ms=round(trace.guard_ms, 3), contents=trace.contents,
                )
            )  # fmt: skip
            self._log_works = trace.is_recorded = True
            self._count(trace)
        except LogError:
            self._log_works = False

    def _count(self, trace: _Trace) -> None:
        self.metrics.requests.labels(trace.verdict, trace.stage).inc()

    def _check_log(self) -> None:
        """Nothing is forwarded of which no record can be kept, unless the policy says so; tried anew each time."""
        if self._log_works or self.policy.on_failure == "pass":
            return
        try:
            self.log.write(Verdict(id="", at=now(), key="", model="", verdict="error", stage="guard", rule="log"))
            self._log_works = True
        except LogError:
            raise RefusedError(503, "log_failed", "The guard cannot keep its record", stage="guard") from None

    # ---- the other routes ------------------------------------------------------------------------
    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        try:
            self.access.client(request.headers.get("authorization"))
            return _json(200, await self.upstream.models())
        except RefusedError as error:
            return _json(error.status, error_body(error))

    async def health(self, _: Request) -> Response:
        """GET /health: 200 while the upstream answers."""
        if time.monotonic() - self._health[0] > _HEALTH_SECONDS:
            self._health = (time.monotonic(), self._health[1])  # whoever asks meanwhile does not ask the upstream too
            try:
                await self.upstream.models()
                works = True
            except RefusedError:
                works = False
            self._health = (time.monotonic(), works)
        works = self._health[1]
        return _json(200 if works else 503, {"status": "ok" if works else "the upstream does not answer"})

    async def prometheus(self, request: Request) -> Response:
        """GET /metrics."""
        try:
            self.access.client(request.headers.get("authorization"))
        except RefusedError as error:
            return _json(error.status, error_body(error))
        self.metrics.running.set(self.gate.running)
        self.metrics.waiting.set(self.gate.waiting)
        self.metrics.images_waiting.set(self.workers.waiting)
        self.metrics.images_known.set(self._images.hits)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def app(self, hosts: Sequence[str] = ("*",)) -> Starlette:
        """The ASGI application; ``start`` and ``stop`` are its caller's to call.

        Args:
            hosts: names that the ``Host`` header may have.
        """

        made = Starlette(
            routes=[
                Route("/v1/chat/completions", _Endpoint(self), methods=["POST"]),
                Route("/v1/models", self.models, methods=["GET"]),
                Route("/health", self.health, methods=["GET"]),
                Route("/metrics", self.prometheus, methods=["GET"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        )
        made.router.redirect_slashes = False  # to whatever the client called this host
        return made


class _Endpoint:
    """Starlette takes an object that can be called for an ASGI application, and a method for a handler."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guard.chat(scope, receive, send)


class _Trace:
    """What is known of a request while it is answered."""

    def __init__(self, name: str, started: float) -> None:
        self.id, self.started = name, started
        # Until it is known: a request that ends in a way that nobody thought of has not passed.
        self.key, self.verdict, self.stage, self.rule, self.status = "", "error", "guard", "unfinished", 500
        self.score: float | None = None
        self.digest = self.contents = ""
        self.images: Sequence[str] = ()
        self.cleaned: list[str] = []
        self.guard_ms = 0.0
        self.is_recorded = False
        self.request: ChatRequest | None = None
        self.answer: Answer | None = None


def _json(status: int, value: Any) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _label(rule: str) -> str:
    """A rule as a label: without what a scorer said."""
    return rule.partition(":")[0][:80]
