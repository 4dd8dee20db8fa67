"""Speech as services send it: a body of audio, or JSON with the audio in it as base64."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from allm.data.attrs_classes import define
from allm.data.json.text import JsonTextError, as_object, as_text, loads
from allm.http.call import HttpCall, OpenCall, open_call
from allm.http.errors import malformed
from allm.http.json_call import MAX_RESPONSE_BYTES
from allm.runtime.adapters import SpokenAnswer

__all__ = ["one_piece", "open_audio"]


@define(eq=False)
class _OnePiece:
    _left: list[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def one_piece(sound: bytes) -> AsyncIterator[bytes]:
    """Audio that came all at once, for `SpokenAnswer.pieces`."""
    return _OnePiece([sound])


@asynccontextmanager
async def open_audio(
    call: HttpCall, *, mime_type: str | None = None, otherwise: str, json_field: str | None = None
) -> AsyncGenerator[SpokenAnswer]:
    """Make a call whose response is audio, for an `async with` block.

    Args:
        call: The prepared call.
        mime_type: What was asked for; None: what the response calls it.
        otherwise: The type if neither says it.
        json_field: The field of a JSON response that holds the audio; None: JSON is no audio.

    Raises:
        AdapterError: The call failed, or what came is no audio.
    """
    async with open_call(call) as opened:
        response = opened.response
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        # Of the two, what was asked for says more: gateways call everything audio/mpeg.
        mime_type = mime_type or (kind if kind.startswith("audio/") else otherwise)
        if json_field is not None and kind.endswith("json"):
            pieces = one_piece(await _in_json(opened, json_field))
            yield SpokenAnswer(pieces=pieces, mime_type=mime_type, request_id=opened.request_id)
            return
        if kind.endswith(("json", "xml")) or kind.startswith("text/"):
            raise malformed(call.provider, f"expected audio, got {kind}", await response.read(1000))
        async with response.chunks() as chunks:
            yield SpokenAnswer(pieces=chunks, mime_type=mime_type, request_id=opened.request_id)


async def _in_json(opened: OpenCall, field: str) -> bytes:
    body = await opened.response.read(MAX_RESPONSE_BYTES + 1)
    try:
        text = as_text(as_object(loads(body)).get(field))
        return base64.b64decode(text or "", validate=True)
    except (JsonTextError, ValueError) as error:
        raise malformed(opened.call.provider, f"expected JSON with audio ({error})", body[:1000]) from error
