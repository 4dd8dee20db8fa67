"""Cases for files in prompts, and for what a provider did and cited in its answer."""

from __future__ import annotations

import base64

import attrs

from allm import fake
from allm.data.audio import Audio
from allm.data.content import HostedCall, TextPart
from allm.data.document import Document, Video
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.media import Media
from allm.data.message import user
from allm.execution.generate import generate
from allm.runtime.adapters import AdapterOptions
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.response_cases import ResponseCases
from allm.testing.conformance.samples import TEXT, UNICODE, full_request
from allm.testing.conformance.setup import case

__all__ = ["ContentCases"]

FOUND = "https://found.example/7f3a"
ASKED = "a conformance question 81c0"
SEARCH = fake.hosted_call("web_search", {"query": ASKED}, {"sources": [{"url": FOUND, "title": "Found"}]}, id="call_9")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
MEDIA: tuple[Media, ...] = (
    Image.from_bytes(base64.b64decode(PIXEL)),
    Document.from_bytes(b"%PDF-1.4 a conformance document 7f3a"),
    Audio.from_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt a conformance sound 81c0"),
    Video.from_bytes(b"\x00\x00\x00\x18ftypmp42 a conformance video 52de"),
)


class ContentCases(ResponseCases):
    """Cases for content beyond text and tool calls."""

    @case("http")
    def test_files_are_sent_or_refused(self) -> None:
        """An image, a document, audio and a video: the bytes are in the call, or the error names the message."""
        adapter = self.offline_adapter()
        for media in MEDIA:
            request = full_request(self.model, self.capabilities)
            request = attrs.evolve(request, messages=[user("Read this.", media)])
            try:
                prepared = adapter.prepare(request, AdapterOptions())
            except ValidationError as error:
                at = ("messages", 0)
                holds(all(path[:2] == at for path, _ in error.errors), f"expected problems of {at}: {error.errors}")
            else:
                data = base64.b64encode(media.to_bytes()).decode()
                holds(data in repr(self.sent_by(prepared)), f"prepare dropped {media!r}")

    @case("hosted_calls")
    async def test_what_ran_at_the_provider_is_no_call_for_the_caller(self) -> None:
        """It is in its place between the texts, with what was asked."""
        response = await self.respond(fake.text("Let me see. "), SEARCH, fake.text("It is there."))
        same(response.output_text, "Let me see. It is there.", "the text")
        same((response.tool_calls, response.finish_reason), ((), "stop"), "calls for the caller, and the finish reason")
        calls = [(call.kind, call.status, ASKED in repr(call.input)) for call in response.hosted_calls]
        same(calls, [("web_search", "completed", True)], "kind, status, and whether the question is in the input")
        kinds = [type(part) for part in response.message.parts]
        same(kinds[0], TextPart, "the first part")
        same(kinds[-1], TextPart, "the last part")
        holds(HostedCall in kinds[1:-1], "the call is not between the texts")

    @case("hosted_calls")
    async def test_what_ran_at_the_provider_goes_back(self) -> None:
        """The next request has it, if the provider takes it."""
        async with self.playing((fake.text("Let me see. "), SEARCH, fake.text("There.")), TEXT) as stage:
            first = await generate(stage.engine(), "hi")
            second = await generate(stage.engine(), [user("hi"), first.message, user("And now?")])
            same(second.output_text, "one two three four five six", "the next answer")
            if stage.server is not None and any(call.data for call in first.hosted_calls):
                holds(ASKED.encode() in stage.server.requests[1].body, "the call is not in the next request")

    @case("citations")
    async def test_a_text_with_citations_goes_back(self) -> None:
        """The next request has the whole text."""
        cited = (fake.text(UNICODE), fake.citation(0, 6, url=FOUND, title="Found"), fake.text(" And more."))
        async with self.playing(cited, TEXT) as stage:
            first = await generate(stage.engine(), "hi")
            same([citation.url for citation in first.citations], [FOUND], "the addresses of the citations")
            second = await generate(stage.engine(), [user("hi"), first.message, user("And now?")])
            same(second.output_text, "one two three four five six", "the next answer")
            if stage.server is not None:
                body = stage.server.requests[1].body
                holds(b"And more." in body, "the end of the text with citations is not in the next request")
