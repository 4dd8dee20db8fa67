"""Files that a server keeps, as OpenAI, Anthropic and Gemini tell of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any, Literal, NamedTuple

import attrs

from allm.data.json.text import as_object
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Reply

__all__ = ["FileShape", "KeptFile", "KeptFiles", "form_of"]

FileShape = Literal["openai", "anthropic", "gemini"]
GRANULARITY = 256 * 1024
CREATED = 1760000000
MOMENT = datetime.fromtimestamp(CREATED, UTC).isoformat().replace("+00:00", "Z")


class KeptFile(NamedTuple):
    """A file that a server keeps.

    Attributes:
        filename: Its name, as it was uploaded.
        mime_type: Such as `application/pdf`.
        content: Its bytes.
    """

    filename: str
    mime_type: str
    content: bytes


def form_of(request: RecordedRequest) -> dict[str, Any]:
    """The fields of a form, of which a file is a `KeptFile`."""
    head = b"content-type: " + request.headers.get("content-type", "").encode() + b"\r\n\r\n"
    parts: Any = BytesParser().parsebytes(head + request.body).get_payload()
    fields: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else ():
        content = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if (filename := part.get_filename()) is None:
            fields[name] = content.decode()
        else:
            fields[name] = KeptFile(filename, part.get_content_type(), content)
    return fields


@attrs.define(eq=False)
class KeptFiles:
    """The files of a server, by their ids."""

    kept: dict[str, KeptFile] = attrs.field(factory=dict[str, KeptFile])
    _begun: dict[str, tuple[KeptFile, int]] = attrs.field(factory=dict[str, tuple[KeptFile, int]])
    _count: int = 0

    def upload(self, shape: FileShape, request: RecordedRequest) -> Reply:
        """Keep the file of a form."""
        file = form_of(request).get("file")
        if not isinstance(file, KeptFile):
            return Reply.error(shape, 400, message="expected a form with a file")
        return Reply.json(self._document(shape, self._keep(shape, file)))

    def list(self, shape: FileShape) -> Reply:
        """All files, on one page."""
        found = [self._document(shape, id) for id in self.kept]
        return Reply.json({"files": found} if shape == "gemini" else {"data": found, "has_more": False})

    def tell(self, shape: FileShape, id: str) -> Reply:
        """What is known of a file."""
        return Reply.json(self._document(shape, id)) if id in self.kept else self._missing(shape, id)

    def content(self, shape: FileShape, id: str) -> Reply:
        """The bytes of a file."""
        if id not in self.kept:
            return self._missing(shape, id)
        headers = {"content-type": self.kept[id].mime_type}
        return Reply(headers=headers, body=self.kept[id].content, framing="content-length")

    def delete(self, shape: FileShape, id: str) -> Reply:
        """Keep a file no longer."""
        if self.kept.pop(id, None) is None:
            return self._missing(shape, id)
        return Reply.json({} if shape == "gemini" else {"id": id, "deleted": True, "type": "file_deleted"})

    # --- Gemini's upload, in pieces: https://ai.google.dev/api/files#method:-media.upload ---

    def begin(self, request: RecordedRequest) -> Reply:
        """Give the URL of an upload."""
        about = as_object(as_object(json.loads(request.body)).get("file"))
        size = int(request.headers.get("x-goog-upload-header-content-length", "0"))
        mime_type = request.headers.get("x-goog-upload-header-content-type", "application/octet-stream")
        id = f"upload-{len(self._begun) + 1}"
        self._begun[id] = (KeptFile(str(about.get("display_name") or ""), mime_type, b""), size)
        url = f"http://{request.headers['host']}{request.path.partition('?')[0]}?upload_id={id}"
        granularity = {"x-goog-upload-chunk-granularity": str(GRANULARITY)}
        return Reply.json({}, headers={"x-goog-upload-url": url, "x-goog-upload-status": "active", **granularity})

    def go_on(self, id: str, request: RecordedRequest) -> Reply:
        """Take a piece, or tell how much there is."""
        if id not in self._begun:
            return self._missing("gemini", id)
        file, size = self._begun[id]
        command = request.headers.get("x-goog-upload-command", "")
        offset = int(request.headers.get("x-goog-upload-offset", "0"))
        if "upload" in command and offset != len(file.content):
            return Reply.error("gemini", 400, message=f"the upload has {len(file.content)} bytes, not {offset}")
        if "upload" in command:
            file = file._replace(content=file.content + request.body)
            self._begun[id] = (file, size)
        received = {"x-goog-upload-size-received": str(len(file.content))}
        if "finalize" not in command:
            return Reply.json({}, headers={"x-goog-upload-status": "active", **received})
        if len(file.content) != size:
            return Reply.error("gemini", 400, message=f"the upload has {len(file.content)} bytes of {size}")
        del self._begun[id]
        document = self._document("gemini", self._keep("gemini", file))
        return Reply.json({"file": document}, headers={"x-goog-upload-status": "final", **received})

    # --- in the words of each ---

    def _keep(self, shape: FileShape, file: KeptFile) -> str:
        self._count += 1
        id = {"openai": "file-", "anthropic": "file_", "gemini": "files/"}[shape] + f"{self._count:08d}"
        self.kept[id] = file
        return id

    def _document(self, shape: FileShape, id: str) -> dict[str, Any]:
        file = self.kept[id]
        size, known = len(file.content), dict[str, Any]()
        if shape == "gemini":
            known = {"displayName": file.filename, "mimeType": file.mime_type, "sizeBytes": str(size)}
            uri = f"https://generativelanguage.googleapis.com/v1beta/{id}"
            return {"name": id, **known, "createTime": MOMENT, "uri": uri, "state": "ACTIVE"}
        if shape == "anthropic":
            known = {"filename": file.filename, "mime_type": file.mime_type, "size_bytes": size}
            return {"type": "file", "id": id, **known, "created_at": MOMENT, "downloadable": True}
        known = {"filename": file.filename, "bytes": size, "created_at": CREATED}
        return {"object": "file", "id": id, **known, "purpose": "user_data", "status": "processed"}

    def _missing(self, shape: FileShape, id: str) -> Reply:
        return Reply.error(shape, 404, message=f"there is no file {id!r}")
