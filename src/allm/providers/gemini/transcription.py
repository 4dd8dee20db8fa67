"""Transcription by Gemini: `generateContent` with the audio and an instruction.

Facts: https://ai.google.dev/gemini-api/docs/audio. There is no endpoint for it, so the model is told what to do.
"""

from __future__ import annotations

from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    UnaryAdapter,
    as_count,
    as_object,
    as_objects,
    as_text,
    explains_settings,
    post_json,
    refuse,
)
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.data.speech import Transcription, TranscriptionRequest
from allm.providers.gemini.adapter import Connection
from allm.providers.gemini.errors import is_withheld

__all__ = ["GeminiTranscription", "decode_transcription", "encode_transcription"]

MOST_BYTES = 15 * 1024 * 1024
"""Of audio: a request may have 20 MB, and base64 adds a third."""
INSTRUCTION = "Write down word for word what is said in this recording. Answer with the transcript and nothing else."


def encode_transcription(request: TranscriptionRequest) -> dict[str, Any]:
    """The request body; `request.options` win.

    Raises:
        ValidationError: What Gemini does not take; all problems at once.
    """
    audio = request.audio
    problems: list[Problem] = []
    if request.timestamps:
        problems.append(Problem(("timestamps",), "unsupported_option", "Gemini gives no times; leave it out"))
    if request.diarize:
        problems.append(Problem(("diarize",), "unsupported_option", "Gemini does not tell speakers apart"))
    if audio.mime_type is None:
        sentence = "the type of the audio is not known: pass Audio.from_bytes(data, 'audio/wav') or similar"
        problems.append(Problem(("audio",), "missing_mime_type", sentence))
    if len(audio.data) > MOST_BYTES:
        sentence = f"{len(audio.data)} bytes; Gemini takes {MOST_BYTES} inside a request, so send it in parts"
        problems.append(Problem(("audio",), "too_large", sentence))
    refuse(problems)
    words = [INSTRUCTION]
    if request.language is not None:
        words.append(f"The language is {request.language}.")
    if request.prompt is not None:
        words.append(f"These words may occur in it: {request.prompt}")
    inline = {"mimeType": audio.mime_type, "data": audio.to_base64()}
    parts = [{"text": " ".join(words)}, {"inlineData": inline}]
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}]}
    if request.temperature is not None:
        body["generationConfig"] = {"temperature": request.temperature}
    return {**body, **request.options}


def decode_transcription(document: dict[str, Any], *, provider: str, model: str | None) -> Transcription:
    """The text of an answer.

    Raises:
        AdapterError: `malformed_response` or `content_filter`: there is none.
    """
    candidate = next(iter(as_objects(document.get("candidates"))), {})
    parts = [part for part in as_objects(as_object(candidate.get("content")).get("parts")) if not part.get("thought")]
    text = "".join(as_text(part.get("text")) or "" for part in parts).strip()
    blocked = as_text(as_object(document.get("promptFeedback")).get("blockReason"))
    reason = blocked or as_text(candidate.get("finishReason"))
    if not parts and reason != "STOP":
        raise AdapterError(
            f"the answer has no text in it ({reason or 'no reason given'})",
            reason="content_filter" if blocked or is_withheld(reason) else "malformed_response",
            provider=provider,
            provider_code=reason,
        )
    usage = as_object(document.get("usageMetadata"))
    answered, thought = as_count(usage.get("candidatesTokenCount")), as_count(usage.get("thoughtsTokenCount"))
    modalities = as_objects(usage.get("promptTokensDetails"))
    heard = next((as_count(item.get("tokenCount")) for item in modalities if item.get("modality") == "AUDIO"), None)
    return Transcription(
        text=text,
        model=as_text(document.get("modelVersion")) or model,
        usage=Usage(
            input_tokens=as_count(usage.get("promptTokenCount")),
            output_tokens=None if answered is None else answered + (thought or 0),
            reasoning_tokens=thought,
            total_tokens=as_count(usage.get("totalTokenCount")),
            extra={} if heard is None else {"input_audio_tokens": heard},
        ),
        metadata={provider: {"finish_reason": reason}} if reason not in {None, "STOP"} else {},
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class GeminiTranscription(Connection, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by Gemini's models. The arguments are those of `Gemini`."""

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What Gemini does not take; all problems at once.
        """
        body = encode_transcription(request)
        return _Prepared(self.post(request.model or "", "generateContent", body, options), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            found = decode_transcription(answer.document, provider=self.provider, model=prepared.model)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
