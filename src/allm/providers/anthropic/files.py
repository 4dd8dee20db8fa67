"""Files (https://platform.claude.com/docs/en/api/files-create), without a beta header."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, final

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
    as_objects,
    as_text,
    check_lifetime,
    dumps,
    file_segment,
    malformed,
    open_call,
    send_file_call,
    upload_form,
    with_query,
    without_body,
)
from allm.data.file_ref import FileRef
from allm.providers.anthropic import adapter as messages

if TYPE_CHECKING:
    from allm.providers.anthropic.adapter import Anthropic

__all__ = ["Files"]

_LIFETIMES = (3600, 7_776_000)
_MOST = 1000
_OLD = "after_id:"
"""Begins our cursor for the shape that the beta header `files-api-2025-04-14` asks for."""


@final
@attrs.frozen(eq=False)
class Files(UnaryAdapter[FileRequest, Any]):
    """The files that Anthropic keeps."""

    adapter: Anthropic

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: FileRequest, options: AdapterOptions) -> FileCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A lifetime that the API does not take, an id that is none.
        """
        base_url = self.adapter.find_base_url(options)
        place = self.adapter.origin(base_url).place

        def stored(answer: JsonResponse) -> StoredFile:
            return self._stored(answer.document, place)

        def page(answer: JsonResponse) -> Page[FileRef]:
            return self._page(answer, place)

        match request:
            case Upload():
                check_lifetime(request, self.provider, _LIFETIMES)
                lifetime = request.expires_in
                fields = {} if lifetime is None else {"expires_in_seconds": str(int(lifetime))}
                kind, body = upload_form(fields, request)
                call = self.adapter.call(messages.address(base_url, "/files"), body, options, kind)
                return FileCall(call, stored, request)
            case PageRequest():
                cursor = request.cursor
                old = cursor is not None and cursor.startswith(_OLD)
                at = {"after_id" if old else "page": cursor.removeprefix(_OLD) if cursor else None}
                url = with_query(messages.address(base_url, "/files"), limit=_MOST, **at)
                return FileCall(self._get(url, options), page)
            case FileDelete():
                url = messages.address(base_url, f"/files/{file_segment(request.id)}")
                return FileCall(self._get(url, options, "DELETE"), lambda _answer: None)
            case FileGet() | FileContent():
                end = "/content" if isinstance(request, FileContent) else ""
                url = messages.address(base_url, f"/files/{file_segment(request.id)}{end}")
                return FileCall(self._get(url, options), stored)

    async def send(self, prepared: FileCall) -> Any:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await send_file_call(prepared)

    def open(self, prepared: FileCall) -> AbstractAsyncContextManager[OpenCall]:
        """Make the call for a file's content."""
        return open_call(prepared.call)

    def _get(self, url: str, options: AdapterOptions, method: str = "GET") -> HttpCall:
        return without_body(self.adapter.call(url, b"", options), method)

    def _page(self, answer: JsonResponse, place: str | None) -> Page[FileRef]:
        document = answer.document
        if not isinstance(document.get("data"), list):
            raise malformed(self.provider, "expected a list of files as data", dumps(document))
        files = tuple(self._stored(item, place).file for item in as_objects(document["data"]))
        following = as_text(document.get("next_page")) or None
        if following is None and document.get("has_more") is True and (last := as_text(document.get("last_id"))):
            following = _OLD + last
        return Page(files, following)

    def _stored(self, item: Mapping[str, Any], place: str | None) -> StoredFile:
        if (id := as_text(item.get("id"))) is None:
            raise malformed(self.provider, "expected a file with an id", dumps(item))
        file = FileRef(
            provider=self.provider,
            id=id,
            endpoint=place,
            filename=as_text(item.get("filename")),
            mime_type=as_text(item.get("mime_type")),
            size=as_count(item.get("size_bytes")),
            expires_at=_seconds(item.get("expires_at")),
        )
        return StoredFile(file=file)


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except ValueError:
        return None
