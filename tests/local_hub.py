"""A Hugging Face hub on this machine: its protocol as far as its client speaks it, and a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    root: Path

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        path = urlparse(self.path).path.strip("/").split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer secret":
            return self._answer({"error": "no token"}, 401)
        if path == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            (self.root / name).mkdir(parents=True, exist_ok=True)
            return self._answer({"url": f"{self._here()}/{name}", "id": name, "name": name})
        if path[4:5] == ["preupload"]:
            files = [file["path"] for file in json.loads(body)["files"]]
            return self._answer({"files": [
                {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in files
            ]})  # fmt: skip
        if path[4:5] == ["commit"]:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    file = self.root / path[2] / path[3] / entry["value"]["path"]
                    file.write_bytes(base64.b64decode(entry["value"]["content"]))
            url = f"{self._here()}/{path[2]}/{path[3]}/commit/{COMMIT}"
            return self._answer({"success": True, "commitOid": COMMIT, "commitUrl": url})
        return self._answer({"error": f"no {self.path}"}, 404)

    def do_GET(self) -> None:
        path = urlparse(self.path).path.strip("/").split("/")
        if path[:2] == ["api", "models"] and (folder := self.root / path[2] / path[3]).is_dir():
            files = sorted(file for file in folder.iterdir() if file.is_file())
            if path[4:5] == ["tree"]:
                return self._answer([
                    {"type": "file", "path": file.name, "size": file.stat().st_size,
                     "oid": hashlib.sha1(file.read_bytes()).hexdigest()} for file in files
                ])  # fmt: skip
            return self._answer({
                "id": "/".join(path[2:4]), "sha": COMMIT, "private": False, "tags": [],
                "siblings": [{"rfilename": file.name} for file in files],
            })  # fmt: skip
        file = self.root.joinpath(*path[:2], *path[4:])
        if path[2:3] == ["resolve"] and file.is_file():
            return self._send(file.read_bytes(), "application/octet-stream")
        return self._answer({"error": f"no {self.path}"}, 404)

    do_HEAD = do_GET

    def _here(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _answer(self, content: object, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def local_hub(root: Path) -> Iterator[dict[str, str]]:
    """Serve repositories from root/OWNER/NAME; yields the environment of a client of it."""
    handler = type("Handler", (_Handler,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
                "HF_HOME": str(root.parent / "cache"),
                "HF_TOKEN": "secret",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_OFFLINE": "0",
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
            }
        finally:
            server.shutdown()
