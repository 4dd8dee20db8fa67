"""Files (https://platform.openai.com/docs/api-reference/files), of OpenAI and of services that copy it."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
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
    join_url,
    malformed,
    open_call,
    send_file_call,
    upload_form,
    with_query,
    without_body,
)
from allm.data.file_ref import FileRef

if TYPE_CHECKING:
    from allm.providers.openai.adapter import OpenAI

__all__ = ["Files"]

_LIFETIMES = (3600, 2_592_000)
_MOST = 10_000


@final
@attrs.frozen(eq=False)
class Files(UnaryAdapter[FileRequest, Any]):
    """The files of a service."""

    adapter: OpenAI

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: FileRequest, options: AdapterOptions) -> FileCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A lifetime that the service does not take, an id that is none.
        """
        base_url = self.adapter.find_base_url(options, "responses")
        place = self.adapter.origin(base_url).place
        url = join_url(base_url, "/files")

        def stored(answer: JsonResponse) -> StoredFile:
            return self._stored(answer.document, place)

        def page(answer: JsonResponse) -> Page[FileRef]:
            return self._page(answer, place)

        match request:
            case Upload():
                check_lifetime(request, self.provider, _LIFETIMES if self.adapter.row.uploads_expire else None)
                purpose = request.purpose or self.adapter.row.upload_purpose
                fields = {"purpose": purpose} if purpose else {}
                if request.expires_in is not None:
                    fields |= {
                        "expires_after[anchor]": "created_at",
                        "expires_after[seconds]": str(int(request.expires_in)),
                    }
                kind, body = upload_form(fields, request)
                return FileCall(self.adapter.call(url, body, options, kind), stored, request)
            case PageRequest():
                return FileCall(self._get(with_query(url, limit=_MOST, after=request.cursor), options), page)
            case FileDelete():
                call = self._get(join_url(url, f"/{file_segment(request.id)}"), options, "DELETE")
                return FileCall(call, lambda _answer: None)
            case FileGet() | FileContent():
                end = "/content" if isinstance(request, FileContent) else ""
                return FileCall(self._get(join_url(url, f"/{file_segment(request.id)}{end}"), options), stored)

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
        listed = answer.document.get("data")
        if not isinstance(listed, list):
            raise malformed(self.provider, "expected a list of files as data", dumps(answer.document))
        files = tuple(self._stored(item, place).file for item in as_objects(listed))
        return Page(files, files[-1].id if answer.document.get("has_more") is True and files else None)

    def _stored(self, item: Mapping[str, Any], place: str | None) -> StoredFile:
        if (id := as_text(item.get("id"))) is None:
            raise malformed(self.provider, "expected a file with an id", dumps(item))
        name = as_text(item.get("filename"))
        named = mimetypes.guess_type(name)[0] if name else None
        file = FileRef(
            provider=self.provider,
            id=id,
            endpoint=place,
            filename=name,
            mime_type=as_text(item.get("mimetype")) or named,
            size=as_count(item.get("bytes")),
            expires_at=as_count(item.get("expires_at")) or None,
        )
        failed = item.get("status") == "error"
        return StoredFile(file=file, state="failed" if failed else "ready", problem=as_text(item.get("status_details")))
