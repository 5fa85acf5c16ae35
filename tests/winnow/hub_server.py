"""A small server on this machine with the API of the Hugging Face hub and of ModelScope, and their failures."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "1234567890" * 4


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubServer:
    """Serves ``repos``: (kind, name) → path → content. Large files (safetensors) are in LFS.

    Attributes:
        faults: path → what happens to the next requests for it, in order: "break" and "stall" after half of the body,
            "damage" its bytes, or answer with a status. "*" stands for the API.
        requests: (method, path, Range header) of all.
        commit: what every branch stands for.
        private, tokens: names of repositories that were made private, and the headers that uploads came with.
    """

    def __init__(self):
        self.repos, self.faults, self.requests, self.commit = {}, {}, [], COMMIT
        self.received, self.private, self.tokens = {}, [], set()
        self.closing = threading.Event()
        ours = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                ours.answer(self)

            def do_GET(self):
                ours.answer(self)

            def do_POST(self):
                ours.take(self)

            do_PUT = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def ranges_of(self, path):
        """Range headers of the requests for a file, in order."""
        return [header for method, asked, header in self.requests if method == "GET" and asked.endswith(path)]

    def send(self, to, status, body=b"", **headers):
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(body)

    def answer(self, to):
        split = urlsplit(to.path)
        path, query = unquote(split.path), parse_qs(split.query)
        self.requests.append((to.command, path, to.headers.get("Range")))
        if path == "/":
            return self.send(to, 200)
        if path.startswith("/api/v1/"):
            return self.modelscope(to, path.removeprefix("/api/v1/"), query)
        kind = "dataset" if "datasets/" in path else "model"
        parts = path.replace("/datasets/", "/models/").replace("/models/", "/", 1).strip("/").split("/")
        if parts[0] == "api":
            return self.api(to, kind, "/".join(parts[1:3]), parts[3:])
        files = self.repos.get((kind, "/".join(parts[:2])))
        file = "/".join(parts[4:])
        if files is None or file not in files:
            return self.send(to, 404, X_Error_Code="RepoNotFound" if files is None else "EntryNotFound")
        return self.file(to, file, files[file], parts[3])

    def api(self, to, kind, name, rest):
        files = self.repos.get((kind, name))
        if fault := self.next_fault("*", to):
            return self.send(to, fault, Retry_After="0")
        if files is None:
            return self.send(to, 404, X_Error_Code="RepoNotFound")
        if rest[:1] == ["tree"]:
            entries = [self.entry(path, content) for path, content in files.items()]
            return self.send(to, 200, json.dumps(entries).encode(), Content_Type="application/json")
        info = {"id": name, "modelId": name, "sha": self.commit, "siblings": [{"rfilename": path} for path in files],
                "private": False, "downloads": 0, "likes": 0, "tags": []}  # fmt: skip
        return self.send(to, 200, json.dumps(info).encode(), Content_Type="application/json")

    def entry(self, path, content):
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        return entry

    def next_fault(self, path, to):
        waiting = self.faults.get(path)
        return waiting.pop(0) if waiting and to.command == "GET" else None

    def file(self, to, path, content, commit):
        etag = sha256(content) if path.endswith(".safetensors") else git_sha1(content)
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        fault, size = self.next_fault(path, to), len(content)
        if isinstance(fault, int):
            return self.send(to, fault, Retry_After="0")
        if fault == "damage":
            content = bytes(255 - byte for byte in content)
        start = 0
        if asked := to.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last or size - 1)
            headers["Content_Range"] = f"bytes {start}-{end}/{size}"
            content = content[start : end + 1]
        if fault in ("break", "stall"):
            to.send_response(206 if asked else 200)
            for name, value in {**headers, "Content_Length": str(len(content))}.items():
                to.send_header(name.replace("_", "-"), value)
            to.end_headers()
            to.wfile.write(content[: len(content) // 2])
            to.wfile.flush()
            if fault == "stall":
                self.closing.wait(30)
            to.close_connection = True
            return None
        return self.send(to, 206 if asked else 200, content, **headers)

    def modelscope(self, to, path, query):
        kind, owner, name, *rest = path.split("/")
        files = self.repos.get((kind.removesuffix("s"), f"{owner}/{name}"))
        if fault := self.next_fault("*", to):
            return self.send(to, fault)
        if files is None:
            body = {"Code": 10010205001, "Message": "not found", "Success": False}
            return self.send(to, 404, json.dumps(body).encode(), Content_Type="application/json")
        if rest in (["repo", "files"], ["repo", "tree"]):
            listed = [{"Path": path, "Name": path, "Size": len(content), "Sha256": sha256(content), "Type": "blob"}
                      for path, content in files.items()]  # fmt: skip
            pages = {"Files": listed if query.get("PageNumber", ["1"]) == ["1"] else [], "TotalCount": len(listed)}
            body = {"Code": 200, "Success": True, "Data": pages}
            return self.send(to, 200, json.dumps(body).encode(), Content_Type="application/json")
        if rest == ["repo"]:
            (file,) = query["FilePath"]
            return self.file(to, file, files[file], "master")
        return self.send(to, 200, b'{"Code": 200, "Success": true, "Data": {}}', Content_Type="application/json")

    def take(self, to):
        """Uploads: a repository is made, files arrive one by one (LFS), and a commit puts them in their places."""
        path, body = unquote(urlsplit(to.path).path), to.rfile.read(int(to.headers.get("Content-Length", 0)))
        self.requests.append((to.command, path, None))
        if path.startswith("/lfs/"):
            self.received[path.removeprefix("/lfs/")] = body
            return self.send(to, 200)
        self.tokens.add(to.headers.get("Authorization"))
        if self.faults.get("*"):
            return self.send(to, self.faults["*"].pop(0))
        answer = {"errors": [], "warnings": []}  # of api/validate-yaml
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.repos.setdefault(("model", name), {})
            self.private += [name] if asked.get("private") or asked.get("visibility") == "private" else []
            answer = {"url": f"{self.url}/{name}", "id": name}
        elif "/preupload/" in path:
            modes = [(file["path"], "lfs" if file["path"].endswith(".safetensors") else "regular")
                     for file in json.loads(body)["files"]]  # fmt: skip
            answer = {"files": [{"path": file, "uploadMode": mode, "shouldIgnore": False} for file, mode in modes]}
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}
            answer = {"transfer": "basic", "objects": objects}
        elif "/commit/" in path:
            files = self.repos["model", path.removeprefix("/api/models/").split("/commit/")[0]]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.received[value["oid"]]
            answer = {"commitOid": COMMIT, "commitUrl": f"{self.url}/me/mine/commit/{COMMIT}"}
        return self.send(to, 200, json.dumps(answer).encode(), Content_Type="application/json")


@contextmanager
def mirror(folder, monkeypatch) -> Iterator[HubServer]:
    """A server as the mirror of both sites, with an empty cache in ``folder``; no pause is longer than 10 ms."""
    from huggingface_hub import constants

    from winnow.remote import downloads, hub

    made, sleep = HubServer(), time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    for name, value in {
        "ENDPOINT": made.url, "HUGGINGFACE_CO_URL_TEMPLATE": made.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "home/hub"), "HF_HUB_OFFLINE": False, "HF_HUB_DOWNLOAD_TIMEOUT": 1,
        "HF_HUB_DISABLE_XET": True, "DOWNLOAD_CHUNK_SIZE": 1 << 20,
    }.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", made.url)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(folder / "modelscope"))
    caches = (downloads.fetch, hub.why_offline, hub.unreachable)
    for cached in caches:
        cached.cache_clear()
    try:
        yield made
    finally:
        made.close()
        for cached in caches:
            cached.cache_clear()
