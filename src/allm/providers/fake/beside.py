"""What `Fake` has beside chat: counts of tokens, a list of models, and files that are kept in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast, final

import attrs

from allm.adapters import (
    AdapterOptions,
    Companion,
    FileContent,
    FileDelete,
    FileGet,
    FileRequest,
    Page,
    PageRequest,
    StoredFile,
    UnaryAdapter,
    Upload,
)
from allm.data.errors import AdapterError
from allm.data.file_ref import FileRef
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.models import ModelInfo
from allm.providers.fake.scripted_failures import Troubles

__all__ = ["Beside", "listed_models"]

_PROVIDER = "fake"


def listed_models(models: Iterable[str | ModelInfo]) -> list[ModelInfo]:
    """The models of a list in which some are names only."""
    return [model if isinstance(model, ModelInfo) else ModelInfo(provider=_PROVIDER, id=model) for model in models]


@attrs.define(eq=False)
class Beside:
    """What a `Fake` knows of its services."""

    models: list[ModelInfo]
    tokens: int | Callable[[Request], int] | None
    troubles: Troubles
    kept: dict[str, tuple[FileRef, bytes]] = attrs.field(factory=dict[str, tuple[FileRef, bytes]], init=False)
    uploads: int = attrs.field(default=0, init=False)

    def companion(self, service: Companion) -> UnaryAdapter[Any, Any] | None:
        """The service; None for one that there is not, and for counts that are not given, which are then estimated."""
        if service == "token_counter" and self.tokens is None:
            return None
        made: Any = _SERVICES.get(service)
        return None if made is None else made(self)


@attrs.frozen(eq=False)
class _Service:
    """What the three have in common."""

    beside: Beside
    provider = _PROVIDER

    def prepare(self, request: Any, _options: AdapterOptions) -> Any:
        """The request as it is.

        Raises:
            AllmError: The script of failures has it next.
        """
        self.beside.troubles.check()
        return request


@final
class _Counter(_Service, UnaryAdapter[Request, TokenCount]):
    async def send(self, prepared: Request) -> TokenCount:
        """The number that was given for it."""
        await self.beside.troubles.play()
        given = self.beside.tokens
        return TokenCount(given(prepared) if callable(given) else given or 0, exact=True)


@final
class _Models(_Service, UnaryAdapter[PageRequest, Page[ModelInfo]]):
    async def send(self, prepared: PageRequest) -> Page[ModelInfo]:  # noqa: ARG002  (there is one page)
        """All of them."""
        await self.beside.troubles.play()
        return Page(tuple(self.beside.models))


@final
class _Files(_Service, UnaryAdapter[FileRequest, Any]):
    async def send(self, prepared: FileRequest) -> Any:
        """What was asked.

        Raises:
            AdapterError: `not_found`, or what the script of failures has.
        """
        beside = self.beside
        await beside.troubles.play()
        match prepared:
            case Upload():
                return StoredFile(file=await self._keep(prepared))
            case PageRequest():
                return Page(tuple(file for file, _ in beside.kept.values()))
            case FileGet():
                return StoredFile(file=self._found(prepared.id)[0])
            case FileDelete():
                self._found(prepared.id)
                del beside.kept[prepared.id]
                return None
            case FileContent():
                return self._found(prepared.id)[1]

    @asynccontextmanager
    async def open(self, prepared: FileContent) -> AsyncGenerator[_Opened]:
        """The bytes of a file, as a response that has them."""
        yield _Opened(await self.send(prepared))

    async def _keep(self, upload: Upload) -> FileRef:
        pieces = cast("AsyncIterator[bytes]", upload.body().open())
        content = b"".join([piece async for piece in pieces])
        self.beside.uploads += 1
        file = FileRef(
            provider=_PROVIDER,
            id=f"file-{self.beside.uploads}",
            filename=upload.filename,
            mime_type=upload.mime_type,
            size=len(content),
            expires_at=None if upload.expires_in is None else time.time() + upload.expires_in,
        )
        self.beside.kept[file.id] = (file, content)
        return file

    def _found(self, id: str) -> tuple[FileRef, bytes]:
        if (kept := self.beside.kept.get(id)) is None:
            known = ", ".join(self.beside.kept) or "none"
            what = f"Fake keeps no file {id!r}; it keeps {known}"
            raise AdapterError(what, reason="not_found", status=404, provider=_PROVIDER)
        return kept


@attrs.define(eq=False)
class _Opened:
    """A response with the bytes of a file."""

    _left: bytes | None

    @property
    def response(self) -> _Opened:
        return self

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[_Opened]:
        yield self

    def __aiter__(self) -> _Opened:
        return self

    async def __anext__(self) -> bytes:
        if self._left is None:
            raise StopAsyncIteration
        left, self._left = self._left, None
        return left


_SERVICES: dict[str, type[_Service]] = {"token_counter": _Counter, "model_list": _Models, "files": _Files}
