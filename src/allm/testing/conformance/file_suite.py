"""The conformance suite for what a chat adapter has beside chat to keep files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import attrs

from allm.data.errors import AdapterError, ValidationError
from allm.data.file_ref import FileRef
from allm.data.json.codec import from_json, to_json
from allm.execution.services import files
from allm.http.jumping_clock import in_thread
from allm.runtime.engine import Engine
from allm.runtime.file_store import FileGet
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.companion_suites import CompanionCases
from allm.testing.conformance.unary_cases import AT_ONCE, ServiceCapability, unary_case
from allm.testing.faults import BEFORE_HEAD, Cut
from allm.testing.replies import Reply

__all__ = ["FilesConformance"]

CONTENT = b"%PDF-1.4 a conformance file 7f3a " + bytes(range(256)) * 40
SERVER_ERROR = Reply.json({"error": {"message": "no", "code": 500}}, status=500)
NOT_FOUND = Reply.json({"error": {"message": "no", "code": 404}}, status=404)


class FilesConformance(CompanionCases):
    """Cases for a chat adapter whose provider keeps files. Define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        file_ids: Ids as the provider gives them.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `pages`: the list may come in several pages
            - `download`: the provider gives files back
    """

    file_ids: ClassVar[Sequence[str]] = ("file-conformance-a", "file-conformance-b", "file-conformance-c")
    _slot = "files"
    _capabilities = tuple(name for name in get_args(ServiceCapability) if name != "streaming")

    # --- for authors ---

    def make_reply(self, file: FileRef) -> Reply:
        """The answer to a question about a file, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_reply(self, file)"))

    def make_list(self, stored: Sequence[FileRef], *, more: bool) -> Reply:
        """A page of the list, as the provider would send it; with `more`, there is another page after it."""
        raise NotImplementedError(self._undefined("make_list(self, stored, *, more)"))

    def make_upload(self, file: FileRef) -> Sequence[Reply]:
        """The answers to the requests of an upload; default: one, with the file."""
        return [self.make_reply(file)]

    # --- the service ---

    @property
    def _stored(self) -> list[FileRef]:
        return [
            FileRef(provider="any", id=id, filename="a.pdf", mime_type="application/pdf", size=len(CONTENT))
            for id in self.file_ids
        ]

    def _request(self) -> FileGet:
        return FileGet(self.file_ids[0])

    async def _ask(self, engine: Engine, **options: Any) -> FileRef:
        if "http" in self.lacks:
            return await self._upload(engine, **options)
        return await files.get(engine, self.file_ids[0], **options)

    async def _upload(self, engine: Engine, **options: Any) -> FileRef:
        return await files.upload(engine, CONTENT, filename="a.pdf", **options)

    def _sample(self) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(self._stored[0])

    # --- the cases ---

    @unary_case()
    async def test_a_file_is_uploaded(self) -> None:
        """All its bytes are sent, with its name; what comes back says all that is known, and survives JSON."""
        replies = [] if "http" in self.lacks else self.make_upload(self._stored[0])
        seen: list[tuple[int, int | None]] = []

        def progress(sent: int, total: int | None) -> None:
            seen.append((sent, total))

        async with self._playing(*replies) as stage:
            file = await self._upload(stage.engine, on_progress=progress)
            same(file.provider, self._adapter(stage).provider, "the provider of the file")
            same((file.filename, file.size), ("a.pdf", len(CONTENT)), "name and size of the file")
            same(from_json(to_json(file)), file, "the file against itself after JSON")
            if "http" not in self.lacks:
                same(file.id, self.file_ids[0], "the id of the file")
                same(seen[-1], (len(CONTENT), len(CONTENT)), "the last progress")
                self._is_whole(b"".join(request.body for request in stage.server.requests))

    @unary_case("http")
    async def test_a_file_is_sent_anew_after_a_failure(self) -> None:
        """All of it, from its first byte."""
        async with self._playing(SERVER_ERROR, *self.make_upload(self._stored[0]), retry=AT_ONCE) as stage:
            await self._upload(stage.engine)
            self._is_whole(b"".join(request.body for request in stage.server.requests[1:]))

    def _is_whole(self, sent: bytes) -> None:
        holds(CONTENT in sent, "the bytes of the file are not in the request")
        holds(b"a.pdf" in sent, "the name of the file is not in the request")

    @unary_case()
    async def test_what_cannot_be_uploaded_is_refused(self) -> None:
        """An empty file, and one that does not exist, before anything is sent."""
        async with self._playing() as stage:
            for source in (b"", "/no/such/conformance/file.pdf"):
                try:
                    await files.upload(stage.engine, source)
                except ValidationError:
                    continue
                raise AssertionError(f"{source!r} was uploaded")
            same(stage.server.requests, [], "requests")

    @unary_case("http")
    async def test_a_file_is_found(self) -> None:
        """By its value or its id alone; one that is not there is an error."""
        async with self._playing(self._sample(), self._sample(), NOT_FOUND) as stage:
            file = await files.get(stage.engine, self.file_ids[0])
            same((file.id, file.filename), (self.file_ids[0], "a.pdf"), "id and name of the file")
            same(await files.get(stage.engine, file), file, "the file by its value")
            error = await self._failure_of(stage, AdapterError)
            same(error.reason, "not_found", "the reason for a file that is not there")
            same({request.method for request in stage.server.requests}, {"GET"}, "the methods of the requests")

    @unary_case()
    async def test_a_file_of_another_provider_is_refused(self) -> None:
        """Before anything is sent; nobody else knows its id."""
        foreign = FileRef(provider="someone_else", id=self.file_ids[0])
        async with self._playing() as stage:
            for call in (files.get, files.delete, files.read):
                try:
                    await call(stage.engine, foreign)
                except ValidationError as error:
                    same(error.errors, ((("file",), "foreign_upload"),), "the problem")
                else:
                    raise AssertionError(f"{call.__name__} took a file of another provider")
            same(stage.server.requests, [], "requests")

    @unary_case("http")
    async def test_the_list_is_in_order(self) -> None:
        """All pages of it."""
        stored, pages = self._stored, "pages" not in self.lacks
        replies = [self.make_list(stored[:2], more=True), self.make_list(stored[2:], more=False)]
        async with self._playing(*(replies if pages else [self.make_list(stored, more=False)])) as stage:
            found = await files.list(stage.engine)
            same([file.id for file in found], list(self.file_ids), "the ids, in their order")

    @unary_case("http")
    async def test_a_file_is_deleted(self) -> None:
        """Also if the answer got lost and the next attempt does not find it; a file that was not there is an error."""
        deleted = Reply.json({})
        lost = attrs.evolve(deleted, fault=Cut(BEFORE_HEAD))
        async with self._playing(deleted, lost, NOT_FOUND, NOT_FOUND, retry=AT_ONCE) as stage:
            await files.delete(stage.engine, self.file_ids[0])
            [request] = stage.server.requests
            same(request.method, "DELETE", "the method")
            holds(self.file_ids[0].rpartition("/")[2] in request.path, f"the id is not in the path {request.path}")
            await files.delete(stage.engine, self.file_ids[0])
            try:
                await files.delete(stage.engine, self.file_ids[0])
            except AdapterError as error:
                same(error.reason, "not_found", "the reason for a file that is not there")
            else:
                raise AssertionError("a file that is not there was deleted")

    @unary_case("http", "download")
    async def test_a_file_that_is_too_large_is_not_read(self) -> None:
        """The limit is kept while the bytes come."""
        content = Reply(body=CONTENT, headers={"content-type": "application/octet-stream"})
        async with self._playing(content) as stage:
            try:
                await files.read(stage.engine, self.file_ids[0], max_bytes=len(CONTENT) - 1)
            except AdapterError as error:
                same(error.reason, "answer_too_large", "the reason")
            else:
                raise AssertionError("more bytes were read than max_bytes allows")

    @unary_case("http", "download")
    async def test_a_file_is_read(self) -> None:
        """Byte by byte the same; one that is cut leaves nothing on disk."""
        content = Reply(body=CONTENT, headers={"content-type": "application/octet-stream"})
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "a.pdf")
            async with self._playing(content, content, attrs.evolve(content, fault=Cut(100))) as stage:
                same(await files.read(stage.engine, self.file_ids[0]), CONTENT, "the bytes of the file")
                await files.download(stage.engine, self.file_ids[0], target)
                same(await in_thread(target.read_bytes), CONTENT, "the bytes on disk")
                await in_thread(target.unlink)
                try:
                    await files.download(stage.engine, self.file_ids[0], target)
                except AdapterError:
                    same(list(target.parent.iterdir()), [], "files that a broken download left")
                else:
                    raise AssertionError("a file that was cut is taken for all of it")
