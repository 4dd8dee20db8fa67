"""`Services`: a server's replies to everything beside chat, made from the requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, final
from urllib.parse import unquote

import attrs

from allm.data.json.text import as_list, as_object, as_objects
from allm.providers.fake.images import plain_png
from allm.testing.kept_files import FileShape, KeptFile, KeptFiles, form_of
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Reply

__all__ = ["Services"]

BYTES_PER_TOKEN = 4
PCM = "audio/L16;codec=pcm;rate=24000"


@final
@attrs.define(eq=False, kw_only=True)
class Services:
    """The replies of OpenAI, Anthropic and Gemini, and of services that copy them, beside chat.

        services = Services(transcript="Hello.")
        async with WireServer(default=services) as server: ...

    Files are kept and given back. Embeddings, images, rankings and speech are made from the requests, as the fakes make
    them: the same for the same. Queued replies go first; queue those of a chat with a `path`.

    Args:
        models: The ids of the models.
        tokens: What every prompt has; None: a fourth of the bytes of the request.
        transcript: What is heard in any audio.
        flagged: Words that moderation flags as violence.

    Attributes:
        files: The files by their ids, each with `filename`, `mime_type` and `content`.
    """

    models: Sequence[str] = ("model-a", "model-b")
    tokens: int | None = None
    transcript: str = "What was said."
    flagged: Sequence[str] = ("kill",)
    _files: KeptFiles = attrs.field(factory=KeptFiles, init=False)

    @property
    def files(self) -> dict[str, KeptFile]:
        """The files by their ids."""
        return self._files.kept

    def __call__(self, request: RecordedRequest) -> Reply:
        """The reply to a request; 404 for what is none of these services."""
        path = unquote(request.path.partition("?")[0])
        for method, pattern, answer in _ROUTES:
            found = re.search(pattern, path)
            if found and method == request.method:
                return answer(self, request, *found.groups())
        message = f"Services has no {request.method} {request.path}; queue a reply for it with server.add(...)"
        return Reply.json({"error": {"type": "not_found", "message": message}}, status=404)

    # --- one for each service ---

    def _embeddings(self, request: RecordedRequest) -> Reply:
        return Reply.embeddings(request)

    def _count(self, request: RecordedRequest) -> Reply:
        tokens = len(request.body) // BYTES_PER_TOKEN if self.tokens is None else self.tokens
        return Reply.json({"totalTokens": tokens} if _shape(request) == "gemini" else {"input_tokens": tokens})

    def _models(self, request: RecordedRequest) -> Reply:
        if _shape(request) == "gemini":
            return Reply.json({"models": [{"name": f"models/{id}", "displayName": id} for id in self.models]})
        kind = {"type": "model"} if _shape(request) == "anthropic" else {"object": "model"}
        return Reply.json({"object": "list", "data": [{"id": id, **kind} for id in self.models], "has_more": False})

    def _images(self, request: RecordedRequest) -> Reply:
        form = request.headers.get("content-type", "").startswith("multipart/")
        body: dict[str, Any] = form_of(request) if form else request.json()
        prompt = str(body.get("prompt", ""))
        images = [{"b64_json": _base64(plain_png(f"{prompt} {n}"))} for n in range(int(body.get("n") or 1))]
        return Reply.json({"created": 1760000000, "data": images})

    def _speech(self, request: RecordedRequest) -> Reply:
        body = request.json()
        words = str(body.get("input") or body.get("text") or "").split()
        sound = "".join(f"{word} " for word in words).encode()
        return Reply(headers={"content-type": "audio/mpeg"}, body=sound, framing="content-length")

    def _transcription(self, request: RecordedRequest) -> Reply:
        form = form_of(request)
        if form.get("stream") != "true":
            return Reply.json({"text": self.transcript, "usage": {"type": "duration", "seconds": 1}})
        pieces = re.findall(r"\s*\S+\s*$|\s*\S+", self.transcript)
        events: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": piece} for piece in pieces]
        events.append({"type": "transcript.text.done", "text": self.transcript})
        return Reply.sse([(None, event) for event in events])

    def _moderation(self, request: RecordedRequest) -> Reply:
        given = request.json().get("input")
        asked = [given] if isinstance(given, str) else as_list(given)
        parts = any(isinstance(item, dict) for item in asked)  # texts and images together get one verdict
        texts = [" ".join(str(as_object(item).get("text", "")) for item in asked)] if parts else map(str, asked)
        results = [
            {"flagged": broken, "categories": {"violence": broken}, "category_scores": {"violence": float(broken)}}
            for broken in (any(word in text.lower() for word in self.flagged) for text in texts)
        ]
        return Reply.json({"id": "modr-1", "model": request.json().get("model"), "results": results})

    def _ranking(self, request: RecordedRequest) -> Reply:
        body = request.json()
        wanted = _words(body["query"])
        scores = [len(wanted & _words(str(text))) / max(1, len(wanted)) for text in as_list(body.get("documents"))]
        ranked = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
        ranked.sort(key=lambda item: -item["relevance_score"])
        best = ranked[: body.get("top_n") or body.get("top_k")]
        # Cohere and Jina have `results`, Voyage has `data`.
        return Reply.json({"results": best, "data": best, "model": body.get("model"), "usage": {"total_tokens": 1}})

    def _gemini(self, request: RecordedRequest) -> Reply:
        body = request.json()
        asked = as_list(as_object(body.get("generationConfig")).get("responseModalities"))
        content = next(iter(as_objects(body.get("contents"))), {})
        text = " ".join(str(part.get("text", "")) for part in as_objects(content.get("parts")))
        part: dict[str, Any] = {"text": self.transcript}
        if "IMAGE" in asked:
            part = {"inlineData": {"mimeType": "image/png", "data": _base64(plain_png(text))}}
        elif "AUDIO" in asked:
            part = {"inlineData": {"mimeType": PCM, "data": _base64(text.encode("utf-16-le"))}}  # samples of two bytes
        answer = {"content": {"parts": [part], "role": "model"}, "finishReason": "STOP", "index": 0}
        return Reply.json({"candidates": [answer], "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}})

    def _upload(self, request: RecordedRequest) -> Reply:
        return self._files.upload(_shape(request), request)

    def _upload_in_pieces(self, request: RecordedRequest) -> Reply:
        _, _, id = request.path.partition("upload_id=")
        return self._files.go_on(id.partition("&")[0], request) if id else self._files.begin(request)

    def _list(self, request: RecordedRequest) -> Reply:
        return self._files.list(_shape(request))

    def _file(self, request: RecordedRequest, id: str) -> Reply:
        shape = _shape(request)
        end = {"openai": "/content", "anthropic": "/content", "gemini": ":download"}[shape]
        known = f"files/{id.removesuffix(end)}" if shape == "gemini" else id.removesuffix(end)
        if request.method == "DELETE":
            return self._files.delete(shape, known)
        return self._files.content(shape, known) if id.endswith(end) else self._files.tell(shape, known)


def _shape(request: RecordedRequest) -> FileShape:
    """Whose words the client understands."""
    if "/v1beta/" in request.path or "x-goog-api-key" in request.headers:
        return "gemini"
    return "anthropic" if "anthropic-version" in request.headers else "openai"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


_Answer = Callable[..., Reply]
_ROUTES: tuple[tuple[str, str, _Answer], ...] = (
    ("POST", r"/embeddings$|:batchEmbedContents$", Services._embeddings),
    ("POST", r"/(?:input_tokens|count_tokens)$|:countTokens$", Services._count),
    ("GET", r"/models$", Services._models),
    ("POST", r"/images/(?:generations|edits|variations)$", Services._images),
    ("POST", r"/audio/speech$|/text-to-speech/[^/]+/stream$|/tts$", Services._speech),
    ("POST", r"/audio/transcriptions$", Services._transcription),
    ("POST", r"/moderations$", Services._moderation),
    ("POST", r"/rerank$", Services._ranking),
    ("POST", r":generateContent$", Services._gemini),
    ("POST", r"/upload/\w+/files$", Services._upload_in_pieces),
    ("POST", r"/files$", Services._upload),
    ("GET", r"/files$", Services._list),
    ("GET", r"/files/(.+)$", Services._file),
    ("DELETE", r"/files/(.+)$", Services._file),
)
"""The methods and paths of the vendors; what comes first goes first."""
