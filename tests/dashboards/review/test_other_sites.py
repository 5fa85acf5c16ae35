"""A page of another site, open in the browser of somebody who also reviews, decides nothing."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import threading

import pytest

from tests.dashboards.browser import chromium, chromium_path, serving

pytestmark = [
    pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]  # fmt: skip

_LINE = {"correction_id": "0" * 32, "sample_id": "easy_vqa/test/0", "content_hash": "h", "run": "demo-tuned"}
_BODY = json.dumps({"reviewer": "Anna", "lines": [{**_LINE, "action": "keep"}]})
# Every way in which a page can make a browser send something elsewhere.
_ATTACK = """async ([url, body]) => {
  const attempts = [
    () => fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" }, credentials: "include" }),
    () => fetch(url, { method: "POST", body, mode: "no-cors", headers: { "Content-Type": "text/plain" } }),
    () => fetch(url, { method: "POST", body: new Blob([body], { type: "application/json" }), mode: "no-cors" }),
    () => navigator.sendBeacon(url, body),
    () => navigator.sendBeacon(url, new Blob([body], { type: "application/json" })),
    () => new Promise((done) => {
      const form = document.createElement("form"), frame = document.createElement("iframe");
      frame.name = "sent";
      frame.onload = done;
      Object.assign(form, { action: url, method: "POST", enctype: "text/plain", target: "sent" });
      const field = document.createElement("input");
      [field.name, field.value] = [body.slice(0, -1) + ', "x": "', '"}'];
      form.append(field);
      document.body.append(frame, form);
      form.submit();
      setTimeout(done, 3000);
    }),
  ];
  const told = [];
  for (const attempt of attempts) {
    const answer = Promise.resolve().then(attempt);
    told.push(await answer.then((found) => found?.type ?? String(found), (error) => error.name));
  }
  return told;
}"""
# Streamlit's stream of the app: whoever has it can press every button.
_SOCKET = """(url) => new Promise((done) => {
  const socket = new WebSocket(url, ["streamlit"]);
  socket.onopen = () => done("open");
  socket.onerror = () => done("refused");
})"""
_OWN = """async (body) => (await fetch("review/decisions", {
  method: "POST", body, headers: { "Content-Type": "application/json" },
})).status"""


@contextlib.contextmanager
def _site(folder):
    (folder / "index.html").write_text("<title>elsewhere</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_another_site_decides_nothing(own, tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    with serving(own) as address, _site(folder) as port, chromium() as browser:
        page = browser.new_page()
        for host in ("127.0.0.1", "localhost"):  # the same site on another port, and another site
            page.goto(f"http://{host}:{port}/")
            told = page.evaluate(_ATTACK, [f"{address}/review/decisions", _BODY])
            assert told[0] == "TypeError", told  # the browser asked first, and was not allowed
            page.wait_for_timeout(500)
            assert not list((own / "corrections").glob("*.jsonl")), told
            assert page.evaluate(_SOCKET, address.replace("http", "ws") + "/_stcore/stream") == "refused"
        page.goto(f"{address}/_stcore/health")  # a page of ours may
        assert page.evaluate(_OWN.replace("review/", f"{address}/review/"), _BODY) == 200
        assert page.evaluate(_SOCKET, address.replace("http", "ws") + "/_stcore/stream") == "open"
        assert len(list((own / "corrections").glob("*.jsonl"))) == 1
