"""Files (https://ai.google.dev/api/files): uploaded in pieces, and kept for 48 hours."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit, urlunsplit

import attrs

from allm.adapters import (
    AdapterOptions,
    FileCall,
    FileContent,
    FileDelete,
    FileGet,
    FileRequest,
    HttpCall,
    JsonResponse,
    OpenCall,
    Page,
    PageRequest,
    StoredFile,
    UnaryAdapter,
    Upload,
    as_count,
    as_object,
    as_objects,
    as_text,
    check_lifetime,
    dumps,
    file_segment,
    malformed,
    open_call,
    send_file_call,
    with_query,
    without_body,
)
from allm.data.file_ref import FileRef
from allm.providers.gemini.upload import ResumableUpload

if TYPE_CHECKING:
    from allm.providers.gemini.adapter import Gemini

__all__ = ["Files"]

_MOST = 100
_FOLDER = "files/"
_STATES = {"PROCESSING": "processing", "FAILED": "failed"}


@final
@attrs.frozen(eq=False)
class Files(UnaryAdapter[FileRequest, Any]):
    """The files that Google keeps."""

    adapter: Gemini

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: FileRequest, options: AdapterOptions) -> FileCall | ResumableUpload:
        """The call, or all calls of an upload.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A lifetime, as Google has its own; an id that is none.
        """
        adapter = self.adapter
        place = adapter.origin(adapter.find_base_url(options)).place

        def stored(answer: JsonResponse) -> StoredFile:
            return self._stored(answer.document, place)

        def page(answer: JsonResponse) -> Page[FileRef]:
            files = tuple(self._stored(item, place).file for item in as_objects(answer.document.get("files")))
            return Page(files, as_text(answer.document.get("nextPageToken")) or None)

        match request:
            case Upload():
                check_lifetime(request, self.provider, None)
                call = adapter.call(
                    self._beside("/upload", "/files", options), {"file": {"display_name": request.filename}}, options
                )
                return ResumableUpload(call, request, stored, elsewhere=place is not None)
            case PageRequest():
                url = with_query(adapter.url("/files", options), pageSize=_MOST, pageToken=request.cursor)
                return FileCall(self._get(url, options), page)
            case FileDelete():
                return FileCall(self._get(self._at(request.id, options), options, "DELETE"), lambda _answer: None)
            case FileGet():
                return FileCall(self._get(self._at(request.id, options), options), stored)
            case FileContent():
                path = f"/files/{file_segment(request.id.removeprefix(_FOLDER))}:download"
                url = with_query(self._beside("/download", path, options), alt="media")
                return FileCall(self._get(url, options), stored)

    async def send(self, prepared: FileCall | ResumableUpload) -> Any:
        """Make the call; of an upload the next one, and None as long as there are more.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await (prepared.send() if isinstance(prepared, ResumableUpload) else send_file_call(prepared))

    def open(self, prepared: FileCall) -> AbstractAsyncContextManager[OpenCall]:
        """Make the call for a file's content."""
        return open_call(prepared.call)

    def _at(self, id: str, options: AdapterOptions) -> str:
        return self.adapter.url(f"/files/{file_segment(id.removeprefix(_FOLDER))}", options)

    def _beside(self, folder: str, path: str, options: AdapterOptions) -> str:
        """The URL of a path in a folder that stands before the version."""
        parts = urlsplit(self.adapter.url(path, options))
        version = f"/{self.adapter.version}{path}"
        before = parts.path.removesuffix(version)
        return urlunsplit(parts._replace(path=before + folder + parts.path.removeprefix(before)))

    def _get(self, url: str, options: AdapterOptions, method: str = "GET") -> HttpCall:
        return without_body(self.adapter.call(url, b"", options), method)

    def _stored(self, document: Mapping[str, Any], place: str | None) -> StoredFile:
        item = as_object(document.get("file")) or document  # an upload has it inside
        if not (name := as_text(item.get("name"))):
            raise malformed(self.provider, "expected a file with a name", dumps(document))
        file = FileRef(
            provider=self.provider,
            id=name,
            endpoint=place,
            uri=as_text(item.get("uri")),
            filename=as_text(item.get("displayName")),
            mime_type=as_text(item.get("mimeType")),
            size=as_count(item.get("sizeBytes")),
            expires_at=_seconds(item.get("expirationTime")),
        )
        state: Any = _STATES.get(as_text(item.get("state")) or "", "ready")
        return StoredFile(file=file, state=state, problem=as_text(as_object(item.get("error")).get("message")))


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except ValueError:
        return None
