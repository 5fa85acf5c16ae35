"""A web server on this machine that fails in every way that servers of images do."""

import asyncio
import contextlib
import threading
from collections import Counter

from tests.curate.make_images import encoded, noise, shape

IMAGES = {f"/ok/{number}.jpg": encoded(noise(80, 60, seed=number), "JPEG") for number in range(20)}
BIG = encoded(noise(400, 300, seed=99))
WIDE = encoded(shape(2000))
ETAG = '"v1"'


class FaultyServer:
    """A context manager; ``url(path)`` is an address, ``asked`` counts requests, ``ranges`` the Range headers."""

    def __init__(self, tls=None):
        self.tls = tls  # a server's ssl.SSLContext
        self.asked, self.ranges, self.times = Counter(), [], {}
        self.most_at_once = self._at_once = 0
        self.delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._server.close()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url(self, path):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
            path = head.split(" ")[1]
            headers = {
                line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head.split("\r\n")[1:]
            }
            self.asked[path] += 1
            self.times.setdefault(path, []).append(self._loop.time())
            if "range" in headers:
                self.ranges.append((path, headers["range"], headers.get("if-range")))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            try:
                await asyncio.sleep(self.delay)
                await self._answer(path, headers, writer)
            finally:
                self._at_once -= 1
                writer.close()

    async def _answer(self, path, headers, writer):
        first = self.asked[path] == 1

        def send(status, body=b"", *lines, length=None):
            extra = [f"Content-Length: {len(body) if length is None else length}"] if length != "" else []
            writer.write(
                "\r\n".join([f"HTTP/1.1 {status} x", "Connection: close", *extra, *lines, "", ""]).encode() + body
            )

        async def broken(body, *lines):
            send(200, body[: len(body) // 2], *lines, length=len(body))
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.transport.abort()

        if path in IMAGES:
            send(200, IMAGES[path])
        elif (path == "/503" and first) or path == "/500-always":
            send(503)
        elif path == "/429" and first:
            send(429, b"", "Retry-After: 1")
        elif path == "/429-for-long":
            send(429, b"", "Retry-After: 9999")
        elif path.startswith("/status/"):
            send(int(path.split("/")[2]))
        elif path in ("/break", "/break-ignores-range", "/break-changed", "/break-weak"):
            start = int(headers["range"][6:-1]) if "range" in headers else 0
            tag = ETAG if path != "/break-weak" else 'W/"v1"'
            if first:
                await broken(BIG, f"ETag: {tag}", "Accept-Ranges: bytes")
            elif path == "/break" and headers.get("if-range") == ETAG:
                send(206, BIG[start:], f"ETag: {ETAG}", f"Content-Range: bytes {start}-{len(BIG) - 1}/{len(BIG)}")
            elif path == "/break-changed" and headers.get("if-range") == ETAG:
                send(200, IMAGES["/ok/1.jpg"], 'ETag: "v2"')
            else:
                send(200, BIG, f"ETag: {tag}")
        elif path == "/wrong-range" and not first and "range" in headers:
            send(206, BIG[5:], f"ETag: {ETAG}", f"Content-Range: bytes 5-{len(BIG) - 1}/{len(BIG)}")
        elif path in ("/wrong-range", "/always-breaks"):
            if path == "/wrong-range" and self.asked[path] == 3:
                send(200, BIG)
            else:
                await broken(BIG, *([f"ETag: {ETAG}"] if path == "/wrong-range" else []))
        elif path == "/longer-than-sent":
            send(200, BIG, length=len(BIG) + 1000)
        elif path == "/stalls" and first:
            send(200, BIG[:1000], length=len(BIG))
            await writer.drain()
            await asyncio.sleep(30)
        elif path == "/drips":
            send(200, BIG[:100], length=len(BIG))
            for number in range(100, 200):
                await asyncio.sleep(0.05)
                writer.write(BIG[number : number + 1])
                await writer.drain()
        elif path == "/page.jpg":
            send(200, b"<!DOCTYPE html><html><body>Please log in</body></html>" * 9, "Content-Type: image/jpeg")
        elif path == "/nameless":
            send(200, BIG, "Content-Type: text/html")
        elif path == "/empty.jpg":
            send(200)
        elif path == "/loop":
            send(302, b"", "Location: /loop2")
        elif path == "/loop2":
            send(302, b"", "Location: /loop")
        elif path.startswith("/hop/"):
            left = int(path.split("/")[2])
            send(301, b"", f"Location: /hop/{left - 1}" if left else "Location: /ok/3.jpg")
        elif path == "/to-file":
            send(302, b"", "Location: file:///etc/passwd")
        elif path.startswith("/to/"):
            send(302, b"", f"Location: http://{path.removeprefix('/to/')}/secret.jpg")
        elif path == "/too-large":
            send(200, BIG, length="")
        elif path == "/endless":
            send(200, BIG, length="")
            for _ in range(2000):
                writer.write(BIG)
                await writer.drain()
        elif path == "/wide.png":
            send(200, WIDE)
        elif path == "/no-http":
            writer.write(b"SSH-2.0-OpenSSH_9\r\n")
        elif path in ("/503", "/429", "/stalls"):
            send(200, BIG)
        else:
            send(404)
