"""Files that a provider keeps: uploaded from disk, found, read and deleted, with every failure an error of the tree."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from contextlib import asynccontextmanager
from email.parser import BytesParser
from functools import partial

import pytest
import trio

import allm
from allm.providers import Anthropic, Gemini, OpenAI
from allm.runtime.file_store import Upload
from allm.testing import Cut, Reply, WireServer, cancel_everywhere, loopback_clock

MIB = 1024 * 1024
PDF = b"%PDF-1.4 " + b"x" * 1000
ONCE = allm.RetryPolicy(max_attempts=2, base_delay=1)
MAKE = {
    "openai": lambda url: OpenAI(api_key="sk-key", base_url=f"{url}/v1"),
    "mistral": lambda url: OpenAI(preset="mistral", api_key="sk-key", base_url=f"{url}/v1"),
    "xai": lambda url: OpenAI(preset="xai", api_key="sk-key", base_url=f"{url}/v1"),
    "anthropic": lambda url: Anthropic(api_key="sk-key", base_url=url),
    "gemini": lambda url: Gemini(api_key="sk-key", base_url=url),
}
OPENAI = {"object": "file", "id": "file-1", "purpose": "user_data", "filename": "a.pdf", "bytes": 1009}
STORED = {
    "openai": {**OPENAI, "expires_at": 1900000000, "status": "processed", "status_details": None},
    "mistral": {**OPENAI, "purpose": "ocr", "mimetype": "application/pdf", "expires_at": None},
    "xai": {**OPENAI, "purpose": ""},
    "anthropic": {
        "type": "file",
        "id": "file-1",
        "size_bytes": 1009,
        "created_at": "2026-08-19T14:34:11.612000Z",
        "filename": "a.pdf",
        "mime_type": "application/pdf",
        "expires_at": "2030-03-17T17:46:40Z",
    },
    "gemini": {
        "name": "files/file-1",
        "displayName": "a.pdf",
        "mimeType": "application/pdf",
        "sizeBytes": "1009",
        "expirationTime": "2030-03-17T17:46:40.475407640Z",
        "uri": "https://g/v1beta/files/file-1",
        "state": "ACTIVE",
    },
}
COPIES = pytest.mark.parametrize("vendor", ["openai", "mistral", "xai", "anthropic"])
VENDORS = pytest.mark.parametrize("vendor", list(MAKE))


@pytest.fixture
def autojump_clock():
    """Time that jumps over every wait."""
    return loopback_clock()


@pytest.fixture
def engine_at():
    """Makes the engine of a vendor at a server."""
    return lambda server, vendor: allm.Engine(adapter=MAKE[vendor](server.base_url), retry=ONCE)


@pytest.fixture
def pdf(tmp_path):
    """A file on disk."""
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    return path


def form_of(request):
    """The fields of a form, with the name and type of the file."""
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    fields = {}
    for part in BytesParser().parsebytes(head + request.body).get_payload():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        fields[name] = content.decode() if name != "file" else (part.get_filename(), part.get_content_type(), content)
    return fields


@COPIES
async def test_a_file_is_uploaded_as_a_form(autojump_clock, vendor, engine_at, pdf):
    """With its name, its type, and what it is for; what comes back says all that is known of it."""
    seen = []
    async with WireServer() as server:
        server.add(Reply.json(STORED[vendor]))
        engine = engine_at(server, vendor)
        file = await allm.files.upload(engine, pdf, on_progress=lambda *counts: seen.append(counts))
        [request] = server.requests
        assert (request.method, request.path) == ("POST", "/v1/files")
        assert int(request.headers["content-length"]) == len(request.body)
        assert "anthropic-beta" not in request.headers
        purpose = {"openai": {"purpose": "user_data"}, "mistral": {"purpose": "ocr"}}.get(vendor, {})
        assert form_of(request) == {**purpose, "file": ("a.pdf", "application/pdf", PDF)}
    assert (file.provider, file.id, file.filename, file.size) == (vendor, "file-1", "a.pdf", 1009)
    assert file.mime_type == "application/pdf"
    assert file.expires_at == (1900000000 if vendor in {"openai", "anthropic"} else None)
    assert file.endpoint == server.base_url.removeprefix("http://")
    assert seen == [(1009, 1009)]
    assert allm.from_json(allm.to_json(file)) == file
    assert allm.Document.from_upload(file).upload == file


@pytest.mark.parametrize(
    ("source", "filename", "sent"),
    [
        (b"a,b\n", "t.csv", ("t.csv", "text/csv")),
        (allm.Document.from_text("hello"), None, ("document.txt", "text/plain")),
        (allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n"), None, ("image.png", "image/png")),
        (allm.Audio.from_base64("SUQzBA=="), 'ü "x".mp3', ("ü %22x%22.mp3", "audio/mpeg")),
        (b"\0\1", "data.unknown", ("data.unknown", "application/octet-stream")),
    ],
)
async def test_what_can_be_uploaded(autojump_clock, source, filename, sent, engine_at):
    """Bytes, and media with their content here, under any name."""
    async with WireServer() as server:
        server.add(Reply.json(STORED["openai"]))
        await allm.files.upload(engine_at(server, "openai"), source, filename=filename)
        body, (name, kind) = server.requests[0].body.decode("utf-8", "replace"), sent
        assert f'name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n' in body


@pytest.mark.parametrize(
    "source",
    [
        b"",
        "nowhere.pdf",
        allm.Document.from_url("https://example.com/a.pdf"),
        5,
        allm.Document.from_upload(allm.FileRef(provider="openai", id="file-1")),
    ],
)
@VENDORS
async def test_what_cannot_be_uploaded(autojump_clock, vendor, source, engine_at):
    """Is refused before anything is sent."""
    async with WireServer() as server:
        with pytest.raises(allm.ValidationError):
            await allm.files.upload(engine_at(server, vendor), source)
        assert server.requests == []


async def test_a_lifetime(autojump_clock, engine_at):
    """Goes in each vendor's own words; what a vendor does not take is refused."""
    async with WireServer() as server:
        server.add(Reply.json(STORED["openai"]), Reply.json(STORED["anthropic"]))
        await allm.files.upload(engine_at(server, "openai"), PDF, expires_in=7200, purpose="batch")
        await allm.files.upload(engine_at(server, "anthropic"), PDF, expires_in=7200)
        first, second = map(form_of, server.requests)
        assert (
            first.items()
            >= {
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "7200",
            }.items()
        )
        assert second["expires_in_seconds"] == "7200"
        for vendor, seconds in (("openai", 60), ("anthropic", 10**8), ("gemini", 7200), ("xai", 7200)):
            with pytest.raises(allm.ValidationError, match="expires_in"):
                await allm.files.upload(engine_at(server, vendor), PDF, expires_in=seconds)
        assert len(server.requests) == 2


async def test_a_large_file_is_never_in_memory(tmp_path):
    """It is read bit by bit, from any place."""
    path = tmp_path / "large.bin"
    with path.open("wb") as output:
        output.truncate(200 * MIB)
    upload = Upload.of(path)
    tracemalloc.start()
    size = 0
    async for piece in upload.body(start=MIB).open():
        size += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 199 * MIB
    assert peak < 4 * MIB


@COPIES
async def test_a_busy_vendor_is_asked_again(autojump_clock, vendor, engine_at, pdf):
    """With the whole file."""
    async with WireServer() as server:
        server.add(Reply.json({"error": {"message": "busy"}}, status=503), Reply.json(STORED[vendor]))
        file = await allm.files.upload(engine_at(server, vendor), pdf)
        assert file.id == "file-1"
        assert [form_of(request)["file"][2] for request in server.requests] == [PDF, PDF]


@COPIES
async def test_an_answer_that_got_lost_is_not_repeated(autojump_clock, vendor, engine_at, pdf):
    """The file may be there: two of it would be kept."""
    async with WireServer() as server:
        server.default = Reply(status=200, fault=Cut(-1))
        with pytest.raises(allm.AdapterError) as caught:
            await allm.files.upload(engine_at(server, vendor), pdf)
        assert not caught.value.retryable
        assert "allm.files.list" in str(caught.value)
        assert len(server.requests) == 1


async def test_what_a_progress_function_raises_comes_out(autojump_clock, engine_at, pdf):
    """And nothing is tried again."""

    async def broken(_sent, _total):
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with WireServer() as server:
        server.default = Reply.json(STORED["openai"])
        with pytest.raises(ZeroDivisionError):
            await allm.files.upload(engine_at(server, "openai"), pdf, on_progress=broken)


async def test_files_are_listed(autojump_clock, engine_at):
    """All pages of them, in either shape of Anthropic's."""
    second = {**OPENAI, "id": "file-2"}
    async with WireServer() as server:
        server.add(Reply.json({"data": [OPENAI], "has_more": True}), Reply.json({"data": [second], "has_more": False}))
        files = await allm.files.list(engine_at(server, "openai"))
        assert [file.id for file in files] == ["file-1", "file-2"]
        assert [request.path for request in server.requests] == [
            "/v1/files?limit=10000",
            "/v1/files?limit=10000&after=file-1",
        ]
    item = STORED["anthropic"]
    async with WireServer() as server:
        server.add(
            Reply.json({"data": [item], "next_page": "page_2"}),
            Reply.json({"data": [item], "has_more": True, "last_id": "file-1"}),
            Reply.json({"data": [], "next_page": None}),
        )
        assert len(await allm.files.list(engine_at(server, "anthropic"))) == 2
        assert [request.path.partition("&")[2] for request in server.requests] == ["", "page=page_2", "after_id=file-1"]
    async with WireServer() as server:
        server.add(Reply.json({"files": [STORED["gemini"]], "nextPageToken": "t"}), Reply.json({}))
        [file] = await allm.files.list(engine_at(server, "gemini"))
        assert (file.id, file.uri, file.size) == ("files/file-1", "https://g/v1beta/files/file-1", 1009)
        assert file.expires_at == pytest.approx(1900000000.475407)
        assert server.requests[1].path == "/v1beta/files?pageSize=100&pageToken=t"


@VENDORS
async def test_a_file_is_found_and_deleted(autojump_clock, vendor, engine_at):
    """By its reference or its id."""
    path = "/v1beta/files/file-1" if vendor == "gemini" else "/v1/files/file-1"
    async with WireServer() as server:
        server.add(Reply.json(STORED[vendor]), Reply.json({"id": "file-1", "deleted": True}))
        engine = engine_at(server, vendor)
        file = await allm.files.get(engine, "file-1")
        assert file.filename == "a.pdf"
        assert await allm.files.delete(engine, file) is None
        assert [(request.method, request.path) for request in server.requests] == [("GET", path), ("DELETE", path)]


async def test_a_deletion_whose_answer_got_lost(autojump_clock, engine_at):
    """Has happened when the file is not there at the second attempt; else a missing file is an error."""
    gone = Reply.json({"error": {"type": "not_found_error", "message": "no such file"}}, status=404)
    async with WireServer() as server:
        server.add(Reply(fault=Cut(-1)), gone, gone)
        await allm.files.delete(engine_at(server, "anthropic"), "file-1")
        with pytest.raises(allm.AdapterError) as caught:
            await allm.files.delete(engine_at(server, "anthropic"), "file-1")
        assert caught.value.reason == "not_found"


@VENDORS
async def test_a_file_is_read(autojump_clock, vendor, engine_at, tmp_path):
    """Into memory, or to disk; a part of it that came before a failure is not kept."""
    content = bytes(range(256)) * 100
    path = {"gemini": "/download/v1beta/files/file-1:download?alt=media"}.get(vendor, "/v1/files/file-1/content")
    async with WireServer() as server:
        server.add(
            Reply(body=content),
            Reply(body=content, fault=Cut(5000)),
            Reply(body=content),
            Reply(body=content),
        )
        engine = engine_at(server, vendor)
        assert await allm.files.read(engine, "file-1") == content
        target = tmp_path / "out.bin"
        assert await allm.files.download(engine, "file-1", target) == target
        assert target.read_bytes() == content
        assert {request.path for request in server.requests} == {path}
        with pytest.raises(allm.AdapterError) as caught:
            await allm.files.read(engine, "file-1", max_bytes=1000)
        assert caught.value.reason == "answer_too_large"
        assert list(tmp_path.iterdir()) == [target]


async def test_a_download_that_fails_leaves_what_was_there(autojump_clock, engine_at, tmp_path):
    """And no half file beside it."""
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "File is not downloadable"}}
    async with WireServer() as server:
        server.add(Reply.json(refused, status=400))
        with pytest.raises(allm.AdapterError, match="not downloadable"):
            await allm.files.download(engine_at(server, "anthropic"), "file-1", target)
        server.default = Reply(body=b"x")
        with pytest.raises(OSError, match="nowhere"):
            await allm.files.download(engine_at(server, "anthropic"), "file-1", tmp_path / "nowhere" / "a")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


async def test_whose_file_it_is(autojump_clock, engine_at):
    """A reference of another provider, an id that is none, and a provider without files are errors."""
    async with WireServer() as server:
        foreign = allm.FileRef(provider="openai", id="file-1")
        for file in (foreign, "", "..", 5):
            with pytest.raises(allm.ValidationError):
                await allm.files.get(engine_at(server, "anthropic"), file)
        with pytest.raises(allm.AdapterError) as caught:
            await allm.files.upload(allm.Engine(adapter=OpenAI(preset="groq", api_key="k")), PDF)
        assert caught.value.reason == "unsupported_feature"
        await_path = "a/../b?x=1"
        server.add(Reply.json(STORED["anthropic"]))
        await allm.files.get(engine_at(server, "anthropic"), await_path)
        assert server.requests[0].path == "/v1/files/a%2F..%2Fb%3Fx%3D1"


# --- Google's uploads in pieces --------------------------------------------------------------------------------------


class Resumable:
    """Google's side of an upload."""

    def __init__(self, server, granularity=MIB):
        self.server, self.granularity = server, granularity
        self.received = b""
        self.commands = []
        self.faults = {}
        self.states = ["ACTIVE"]

    def __call__(self, request):
        headers = request.headers
        if request.method == "GET":
            return Reply.json({**STORED["gemini"], "state": self.states.pop(0)})
        command = headers["x-goog-upload-command"]
        self.commands.append(command)
        fault = self.faults.pop(len(self.commands), None)
        if callable(fault):
            fault = fault(request)
        if isinstance(fault, Reply):
            return fault
        if command == "start":
            self.received = b""
            url = "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=SECRETIDSECRETID&upload_protocol=resumable"
            names = {"url": url, "status": "active", "chunk-granularity": str(self.granularity)}
            return Reply(headers={f"x-goog-upload-{name}": value for name, value in names.items()})
        if command != "query":
            assert int(headers["x-goog-upload-offset"]) == len(self.received)
            assert "finalize" in command or len(request.body) % self.granularity == 0
            self.received += request.body
        if "finalize" in command:
            state = self.states.pop(0)
            return Reply.json({"file": {**STORED["gemini"], "state": state}}, headers={"x-goog-upload-status": "final"})
        size = {"x-goog-upload-size-received": str(len(self.received))}
        return Reply(headers={"x-goog-upload-status": "active", **size}, fault=fault)


@pytest.fixture
async def google():
    """A server that takes uploads."""
    async with WireServer() as server:
        server.default = Resumable(server)
        yield server


def google_engine(server, **fields):
    return allm.Engine(adapter=MAKE["gemini"](server.base_url), retry=ONCE, **fields)


CONTENT = bytes(range(256)) * (20 * MIB // 256) + b"the end"


async def test_google_gets_a_file_in_pieces(autojump_clock, google, tmp_path):
    """Each a multiple of the granularity but the last, at the host of the proxy, and each counted as it is sent."""
    path, seen = tmp_path / "a.pdf", []
    path.write_bytes(CONTENT)
    file = await allm.files.upload(google_engine(google), path, on_progress=lambda *counts: seen.append(counts))
    assert google.default.received == CONTENT
    assert google.default.commands == ["start", "upload", "upload", "upload, finalize"]
    first, second = google.requests[:2]
    assert first.path == "/upload/v1beta/files"
    assert json.loads(first.body) == {"file": {"display_name": "a.pdf"}}
    assert first.headers["x-goog-upload-header-content-length"] == str(len(CONTENT))
    assert first.headers["x-goog-upload-header-content-type"] == "application/pdf"
    assert second.path == "/upload/v1beta/files?upload_id=SECRETIDSECRETID&upload_protocol=resumable"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert (file.id, file.uri, file.provider) == ("files/file-1", "https://g/v1beta/files/file-1", "gemini")


async def test_a_broken_upload_goes_on(autojump_clock, google):
    """From where the server is, whatever of a piece it has; with new retries after each piece."""

    def half(request):
        google.default.received += request.body[:MIB]
        return Reply(fault=Cut(-1))

    google.default.faults = {
        2: half,
        5: Reply.json({"error": {"message": "busy"}}, status=503),
        8: Reply(fault=Cut(-1)),
    }
    await allm.files.upload(google_engine(google), CONTENT)
    assert google.default.received == CONTENT
    assert google.default.commands.count("query") == 3
    assert google.default.commands.count("start") == 1


@pytest.mark.parametrize("status", [503, 404])
async def test_an_upload_that_gets_nowhere_ends(autojump_clock, google, status):
    """However often the server says how far it is, or begins anew."""
    busy = Reply.json({"error": {"message": "busy"}}, status=status)
    google.default.faults = dict.fromkeys(range(2, 200, 2), busy)
    with pytest.raises(allm.AdapterError) as caught:
        await allm.files.upload(google_engine(google), CONTENT)
    assert caught.value.status == status
    assert len(google.default.commands) < 10


async def test_an_upload_whose_last_answer_got_lost(autojump_clock, google):
    """Is over: the server has the file, and says so when it is asked."""

    def taken(request):
        google.default.received += request.body
        return Reply(fault=Cut(-1))

    final = Reply.json({"file": STORED["gemini"]}, headers={"x-goog-upload-status": "final"})
    google.default.faults = {2: taken, 3: final}
    file = await allm.files.upload(google_engine(google), PDF)
    assert file.id == "files/file-1"
    assert google.default.commands == ["start", "upload, finalize", "query"]


async def test_an_upload_that_is_forgotten_begins_again(autojump_clock, google):
    """With a new URL."""
    google.default.faults = {2: Reply.json({"error": {"message": "gone"}}, status=404)}
    await allm.files.upload(google_engine(google), PDF)
    assert google.default.commands == ["start", "upload, finalize", "start", "upload, finalize"]


async def test_an_upload_url_is_a_secret(autojump_clock, google):
    """It is in no error and no text of one."""
    google.default.faults = {2: Reply.json({"error": {"message": "bad SECRETIDSECRETID"}}, status=400)}
    with pytest.raises(allm.AdapterError) as caught:
        await allm.files.upload(google_engine(google), PDF)
    error = caught.value
    assert "SECRETIDSECRETID" not in f"{error}{error!r}{error.headers}{allm.to_json(error)}"


async def test_a_server_that_gives_no_url(autojump_clock, google):
    """Is not guessed at."""
    google.default.faults = {1: Reply(headers={"x-goog-upload-status": "active"})}
    with pytest.raises(allm.AdapterError) as caught:
        await allm.files.upload(
            google_engine(
                google,
            ),
            PDF,
            retry=None,
        )
    assert caught.value.reason == "malformed_response"


async def test_a_file_that_is_looked_at_is_waited_for(autojump_clock, google):
    """Until it can be used."""
    google.default.states = ["PROCESSING", "PROCESSING", "ACTIVE"]
    start = trio.current_time()
    await allm.files.upload(google_engine(google), PDF)
    assert trio.current_time() - start >= 2
    assert [request.method for request in google.requests] == ["POST", "POST", "GET", "GET"]


async def test_a_file_that_cannot_be_used(autojump_clock, google):
    """Is an error with what the provider says."""
    google.default.states = ["PROCESSING", "FAILED"]
    with pytest.raises(allm.AdapterError, match="cannot use the file") as caught:
        await allm.files.upload(google_engine(google), PDF)
    assert caught.value.reason == "invalid_request"


async def test_a_file_that_is_never_ready(autojump_clock, google, monkeypatch):
    """Is given up after ten minutes, and after the limit of the call."""
    monkeypatch.setattr("allm.execution.services.files._FIRST_WAIT", 150)
    monkeypatch.setattr("allm.execution.services.files._LONGEST_WAIT", 150)
    google.default.states = ["PROCESSING"] * 1000
    with pytest.raises(allm.AdapterError, match="600 s") as caught:
        await allm.files.upload(google_engine(google), PDF)
    assert caught.value.reason == "timeout"
    with pytest.raises(allm.AdapterError, match="request_timeout"):
        await allm.files.upload(google_engine(google), PDF, request_timeout=200)


async def test_a_server_that_stops_reading(autojump_clock, tmp_path):
    """Is given up after the limit for silence, which a slow upload does not run into."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(40 * MIB))

    async def deaf(stream):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, deaf, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        engine = allm.Engine(adapter=MAKE["anthropic"](url), retry=None)
        with pytest.raises(allm.AdapterError) as caught:
            await allm.files.upload(engine, path, first_event_timeout=30)
        nursery.cancel_scope.cancel()
    assert caught.value.reason == "timeout"


async def test_each_piece_is_given_its_time(autojump_clock):
    """The limit of silence counts from the last piece."""
    upload = Upload.of(bytes(MIB))
    with trio.move_on_after(10) as scope:
        upload.limit(scope, 10)
        async for _ in upload.body().open():
            await trio.sleep(8)
    assert not scope.cancelled_caught


def test_files_without_async(tmp_path):
    """Plain threads have the same functions."""

    async def serve():
        async with WireServer() as server:
            server.add(Reply.json(STORED["openai"]))
            engine = allm.Engine(adapter=MAKE["openai"](server.base_url))
            seen = []
            file = await trio.to_thread.run_sync(
                lambda: allm.blocking.files.upload(engine, PDF, on_progress=lambda *counts: seen.append(counts))
            )
            return file, seen

    file, seen = trio.run(serve)
    assert file.id == "file-1"
    assert seen == [(1009, 1009)]


def test_on_asyncio_a_progress_function_runs_on_the_loop():
    """As every function that a program gives."""
    loops = []

    async def seen(_sent, _total):
        loops.append(asyncio.get_running_loop())

    async def upload(engine):
        file = await allm.aio.files.upload(engine, PDF, on_progress=seen)
        return file, asyncio.get_running_loop()

    async def serve():
        async with WireServer() as server:
            server.add(Reply.json(STORED["openai"]))
            engine = allm.Engine(adapter=MAKE["openai"](server.base_url))
            return await trio.to_thread.run_sync(lambda: asyncio.run(upload(engine)))

    file, loop = trio.run(serve)
    assert file.id == "file-1"
    assert loops == [loop]


async def test_every_moment_of_an_upload_can_be_cancelled(tmp_path):
    """Nothing is left: no file, no socket, no half download."""
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)

    @asynccontextmanager
    async def served():
        async with WireServer() as server:
            server.default = Resumable(server)
            yield server

    async def work(server):
        engine = allm.Engine(adapter=MAKE["gemini"](server.base_url), retry=None)
        return await allm.files.upload(engine, path)

    report = await cancel_everywhere(work, around=served)
    assert report.trials > 10

    @asynccontextmanager
    async def giving():
        async with WireServer() as server:
            server.default = Reply(body=PDF)
            yield server

    async def fetch(server):
        engine = allm.Engine(adapter=MAKE["openai"](server.base_url), retry=None)
        return await allm.files.download(engine, "file-1", tmp_path / "out.pdf")

    def no_half_file(_trial):
        assert {file.name for file in tmp_path.iterdir()} <= {"a.pdf", "out.pdf"}

    await cancel_everywhere(fetch, around=giving, check=no_half_file)
