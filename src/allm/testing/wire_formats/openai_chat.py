"""OpenAI Chat Completions, streamed. https://platform.openai.com/docs/api-reference/chat-streaming.

As recorded: no `event:` lines; the role comes alone in the first chunk, or together with the first call; the finish
reason comes alone with an empty delta; usage comes after it with no choices, and every chunk before has `usage: null`;
then `[DONE]`. Without a `UsageItem` the stream looks as it does without `stream_options.include_usage`.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from allm.data.citation import Citation
from allm.data.image import Image
from allm.data.response import Usage
from allm.testing.wire_formats.encoder import Block, Encoder, compact
from allm.testing.wire_formats.errors import REQUEST_ID, VendorError, openai_envelope

__all__ = ["OpenAIChat"]


@final
@attrs.define(eq=False, kw_only=True)
class OpenAIChat(Encoder):
    """Writes one response. Its `reasoning` deltas are an extension of Groq, OpenRouter and others."""

    default_model: ClassVar[str] = "gpt-5.4-2026-03-05"
    default_id: ClassVar[str] = "chatcmpl-scripted0000000000000000"
    headers: ClassVar[dict[str, str]] = {
        "content-type": "text/event-stream; charset=utf-8",
        "x-request-id": REQUEST_ID,
    }
    _role_sent: bool = attrs.field(init=False, default=False)

    def _on_start(self) -> None:
        pass  # the role is sent with the first block, whose kind decides the form of the chunk

    def _on_open(self, block: Block) -> None:
        if block.kind == "tool_call":
            function = {"name": block.name, "arguments": ""}
            call = {"index": block.number, "id": call_id(block), "type": "function", "function": function}
            role = {} if self._role_sent else {"role": "assistant", "content": None}
            self._role_sent = True
            self._chunk({**role, "tool_calls": [call]})
        else:
            self._send_role()

    def _on_delta(self, block: Block, text: str) -> None:
        match block.kind:
            case "text":
                self._chunk({"content": text})
            case "reasoning":
                self._chunk({"reasoning": text})
            case _:
                self._chunk({"tool_calls": [{"index": block.number, "function": {"arguments": text}}]})

    def _on_citation(self, block: Block, citation: Citation) -> None:  # noqa: ARG002  there is one text
        self._chunk({"annotations": [chat_annotation(citation)]})

    def _on_image(self, image: Image, number: int) -> None:  # noqa: ARG002  (they have no ids)
        # As OpenRouter has it: https://openrouter.ai/docs/features/multimodal/image-generation
        self._send_role()
        self._chunk({"images": [{"type": "image_url", "image_url": {"url": image.to_data_uri()}}]})

    def _on_close(self, block: Block) -> None:
        pass

    def _on_finish(self) -> None:
        self._send_role()
        self._chunk({}, finish_reason=self.finish_reason)
        if self.usage is not None:
            self._data({**self._envelope([]), "usage": usage(self.usage)})
        self.write("data: [DONE]\n\n")

    def _on_fail(self, error: VendorError) -> None:
        self._data(openai_envelope(error))

    def _on_raw(self, kind: str, payload: Any) -> None:
        if payload is None:
            self.write(f": {kind}\n\n")
        else:
            self._data(payload)

    def _send_role(self) -> None:
        if not self._role_sent:
            self._role_sent = True
            self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> None:
        chunk = self._envelope([{"index": 0, "delta": delta, "finish_reason": finish_reason}])
        self._data(chunk if self.usage is None else {**chunk, "usage": None})

    def _envelope(self, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": None,
            "choices": choices,
        }

    def _data(self, value: Any) -> None:
        self.write(f"data: {compact(value)}\n\n")


def call_id(block: Block) -> str:
    """The script's id, or one in OpenAI's form that is unique in the response."""
    return block.id if block.id is not None else f"call_{block.number:024d}"


def chat_annotation(citation: Citation) -> dict[str, Any]:
    """A citation as Chat Completions has it: the fields one level deeper; `data` is written as it is."""
    if citation.data:
        return dict(citation.data)
    places = {"start_index": citation.start or 0, "end_index": citation.end or 0}
    quote = {} if citation.quote is None else {"content": citation.quote}  # of OpenRouter
    fields = {"url": citation.url, "title": citation.title, **places, **quote}
    return {"type": "url_citation", "url_citation": fields}


def usage(usage: Usage) -> dict[str, Any]:
    """The counts under Chat Completions' names; unreported ones are left out."""
    top = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    prompt = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_input_tokens}
    details = {
        "prompt_tokens_details": known(prompt),
        "completion_tokens_details": known({"reasoning_tokens": usage.reasoning_tokens}),
    }
    return {**known(top), **{name: counts for name, counts in details.items() if counts}, **usage.extra}


def known(counts: dict[str, int | None]) -> dict[str, int]:
    """The reported counts."""
    return {name: count for name, count in counts.items() if count is not None}
