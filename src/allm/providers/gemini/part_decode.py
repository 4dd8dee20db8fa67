"""The parts of an answer as events, one after the other.

A part is text, a thought (`thought: true`), a function call, or an item that only Gemini understands (executed code, a
server-side tool's call, a generated image). Pieces of one kind are one block while no signature cuts them off: a signed
part must go back as it came, neither merged with another nor split (https://ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.adapters import Origin, Pieces, UniqueIds, as_list, as_object, as_text, image_of_base64, parse_arguments
from allm.data.content import ImagePart, ProviderPart
from allm.data.events import (
    AdapterEvent,
    ImageCompleted,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.providers.gemini.hosted_parts import HOSTED, HostedParts
from allm.providers.gemini.partial_args import PartialArguments

__all__ = ["ITSELF", "PROVIDER", "PartDecoder"]

PROVIDER = "gemini"
ITSELF = Origin(PROVIDER)
"""Google at its own address."""

_BESIDE_IMAGE = frozenset({"inlineData", "thought", "thoughtSignature"})
_BESIDE_DATA = frozenset({"thought", "thoughtSignature", "partMetadata"})


@attrs.define(eq=False)
class _Run:
    """A block of text or thoughts whose pieces are still coming."""

    kind: str
    id: str
    pieces: Pieces = attrs.field(factory=Pieces)


@attrs.define(eq=False)
class _Call:
    """A call whose arguments are still coming."""

    id: str
    name: str
    sent_id: str | None
    signature: str | None = None
    arguments: PartialArguments = attrs.field(factory=PartialArguments)

    def completed(self) -> ToolCallCompleted:
        # The vendor's id, where there is one, is what goes back to it: `id` may have been made up, or made unique.
        kept = {"id": self.sent_id, "thought_signature": self.signature}
        kept = {key: value for key, value in kept.items() if value is not None}
        arguments = self.arguments.result()
        raw = self.arguments.raw() if arguments is None else None
        return ToolCallCompleted(self.id, self.name, arguments, raw, metadata={PROVIDER: kept} if kept else {})


def _image(part: dict[str, Any], signature: str | None) -> ImagePart | None:
    """A generated image. What else comes as data (sound, drafts of an image in the thoughts) is Gemini's alone."""
    inline = as_object(part.get("inlineData"))
    data, mime_type = as_text(inline.get("data")), as_text(inline.get("mimeType")) or ""
    if data is None or not mime_type.startswith("image/") or part.keys() - _BESIDE_IMAGE or part.get("thought"):
        return None
    image = image_of_base64(data, mime_type)
    kept = {} if signature is None else {PROVIDER: {"thought_signature": signature}}
    return None if image is None else ImagePart(image, metadata=kept)


@attrs.define(eq=False)
class PartDecoder:
    """The content of one answer.

    Attributes:
        add: Takes each event.
        taken: Ids of the calls that the conversation has already; no new call gets one of them.
    """

    add: Callable[[AdapterEvent], None]
    taken: frozenset[str] = frozenset()
    _run: _Run | None = attrs.field(default=None, init=False)
    _call: _Call | None = attrs.field(default=None, init=False)
    _blocks: int = attrs.field(default=0, init=False)
    _ids: UniqueIds = attrs.field(init=False)
    _hosted: HostedParts | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._ids = UniqueIds(self.taken)

    def decode(self, part: dict[str, Any]) -> None:
        """Take one part."""
        part = {key: value for key, value in part.items() if value is not None}
        signature = as_text(part.get("thoughtSignature"))
        call, text = part.get("functionCall"), part.get("text")
        if isinstance(call, dict):
            self._close_run()
            self._function_call(as_object(call), signature)
        elif isinstance(text, str) or part.keys() <= _BESIDE_DATA:
            self._block("reasoning" if part.get("thought") else "text", text or "", signature)
        elif (image := _image(part, signature)) is not None:
            self._close_run()
            self.add(ImageCompleted(self._block_id("image"), image))
        else:
            self._close_run()
            # What the item is comes first, in whichever order the provider wrote it.
            part = dict(sorted(part.items(), key=lambda item: item[0] in _BESIDE_DATA))
            if HOSTED.isdisjoint(part):
                self.provider_part(part)
            else:
                for event in self.hosted().events(part):
                    self.add(event)

    def more(self, kind: str, texts: list[str]) -> str | None:
        """Take more of the block that is being received; its id, None if it is not of that kind."""
        run = self._run
        if run is None or run.kind != kind:
            return None
        run.pieces.extend(texts)
        return run.id

    def hosted(self) -> HostedParts:
        """The calls of tools that run at Google."""
        self._hosted = self._hosted or HostedParts()
        return self._hosted

    def provider_part(self, data: dict[str, Any]) -> None:
        """Add an item that only Gemini understands."""
        self.add(ProviderPartCompleted(self._block_id("provider"), ProviderPart(PROVIDER, data)))

    def close(self, *, clean: bool) -> None:
        """The answer ended. If it did not end cleanly, a call that is still open stays incomplete."""
        self._close_run()
        call = self._call
        if clean:
            self._close_call()
        elif call is not None and call.arguments.pieces:
            self.add(ToolCallDelta(call.id, call.arguments.raw()))

    def _block(self, kind: str, text: str, signature: str | None) -> None:
        run = self._run
        if run is not None and (run.kind != kind or signature is not None):
            self._close_run()
            run = None
        if run is None:
            if not text and signature is None:
                return
            run = self._run = _Run(kind, self._block_id(kind))
        if text:
            run.pieces.add(text)
            self.add(TextDelta(run.id, text) if kind == "text" else ReasoningDelta(run.id, text))
        if signature is not None:
            self._close_run(signature)

    def _close_run(self, signature: str | None = None) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        text = run.pieces.text()
        if run.kind == "reasoning":
            self.add(ReasoningCompleted(run.id, text, provider=PROVIDER, signature=signature))
        else:
            kept = {} if signature is None else {PROVIDER: {"thought_signature": signature}}
            self.add(TextCompleted(run.id, text, metadata=kept))

    def _function_call(self, part: dict[str, Any], signature: str | None) -> None:
        name, sent_id = as_text(part.get("name")), as_text(part.get("id"))
        sent = part.get("args")
        args = parse_arguments(sent) if isinstance(sent, str) else as_object(sent)
        call = self._call
        if call is not None and (name not in {None, call.name} or sent_id not in {None, call.sent_id}):
            self._close_call()
            call = None
        if call is None:
            if name is None and args == {}:
                return
            call = self._call = _Call(self._ids.new(sent_id), name or "", sent_id)
            self.add(ToolCallStarted(call.id, call.name))
        call.signature = signature or call.signature
        call.arguments.update(str(sent) if args is None else args)
        call.arguments.extend(as_list(part.get("partialArgs")))
        if not part.get("willContinue"):
            self._close_call()

    def _close_call(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            # The arguments come whole; as one delta they look to a program like those of any other provider.
            self.add(ToolCallDelta(call.id, call.arguments.raw()))
            self.add(call.completed())

    def _block_id(self, kind: str) -> str:
        self._blocks += 1
        return f"{kind}-{self._blocks - 1}"
