"""The suite for adapters that make images. Each case starts Trio itself, as those of the other suites do."""

from __future__ import annotations

import base64
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, TypeVar

import attrs

from allm.data.codec import from_json, to_json
from allm.data.errors import AdapterReason, AllmError, EngineError, ImageAdapterError
from allm.data.image import Image
from allm.data.image_request import ImageRequest
from allm.execution.images import edit_image, generate_image
from allm.runtime.engine import Engine
from allm.runtime.ports import AdapterOptions, ImageAdapter
from allm.runtime.retry import RetryPolicy
from allm.testing.conformance.checks import hides, holds, same
from allm.testing.conformance.lifetime_cases import settled
from allm.testing.conformance.setup import KEY, NO_SERVER, AdapterSetup, run
from allm.testing.conformance.steps import family
from allm.testing.faults import Cut, Stall
from allm.testing.replies import Reply
from allm.testing.wire_server import WireServer

__all__ = ["ImageAdapterConformance", "ImageCapability"]

ErrorT = TypeVar("ErrorT", bound=AllmError)

ImageCapability = Literal["http", "api_key", "edit", "several_images"]
"""What an adapter of images may lack; `ImageAdapterConformance.lacks` says what each one means."""

PROMPT = "a conformance fox 7f3a"
AT_ONCE = RetryPolicy(max_attempts=2, base_delay=0, jitter=0)
MOST_STEPS = 5000
# An image of one pixel (PNG), and two that differ in what follows the end of the file.
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
IMAGES = (PIXEL, PIXEL + b"second", PIXEL + b"third")
REASONS: dict[int, AdapterReason] = {
    400: "invalid_request",
    401: "authentication_failed",
    429: "rate_limited",
    500: "provider_unavailable",
}


@attrs.frozen(eq=False)
class _Stage:
    engine: Engine
    server: WireServer


def _case(*needs: ImageCapability) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    def decorate(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(function)
        def test(self: ImageAdapterConformance) -> None:
            for capability in needs:
                if capability in self.lacks:
                    import pytest  # what needs no pytest must not load it

                    pytest.skip(f"lacks {capability}: {self.lacks[capability]}")
            run(function, self)

        return test

    return decorate


class ImageAdapterConformance:
    """What every adapter of images holds. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter does not have, each with the reason that is shown for the skipped cases:

            - `http`: it asks over HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `edit`: it starts from images
            - `several_images`: it answers as many images as `n` asks for, and starts from more than one
    """

    model: ClassVar[str] = "conformance-model"
    lacks: ClassVar[Mapping[ImageCapability, str]] = {}

    # --- for authors ---

    def make_adapter(self, setup: AdapterSetup) -> ImageAdapter:
        """The adapter under test; one without HTTP has to answer every call by itself."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_adapter(self, setup)")

    def make_reply(self, images: Sequence[bytes]) -> Reply:
        """An answer with these images, as the provider would send it."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define make_reply(self, images), or declare lacks = {{'http': 'the reason'}}"
        )

    # --- the cases ---

    def test_what_it_lacks_is_spelled_right(self) -> None:
        """A misspelt name would skip nothing, or something else."""
        known = {"http", "api_key", "edit", "several_images"}
        same(sorted(set(self.lacks) - known), [], f"names in lacks that are no capability, which are {sorted(known)}")

    @_case()
    async def test_an_image_is_drawn(self) -> None:
        """With the bytes that came, a count of images, and a value that survives JSON."""
        async with self._playing(self._reply(1)) as stage:
            response = await generate_image(stage.engine, PROMPT)
            holds(response.images, "an answer has an image")
            holds(response.image.to_bytes(), "an image has bytes")
            same(response.usage.images, len(response.images), "usage.images")
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            if "http" not in self.lacks:
                same([image.to_bytes() for image in response.images], [IMAGES[0]], "the images that were sent")
                [request] = stage.server.requests
                holds(PROMPT.encode() in request.body, "the prompt is in the request")

    @_case("several_images")
    async def test_several_images_come_in_their_order(self) -> None:
        """As many as were asked for."""
        async with self._playing(self._reply(3)) as stage:
            response = await generate_image(stage.engine, PROMPT, n=3)
            same(len(response.images), 3, "the number of images for n=3")
            if "http" not in self.lacks:
                same([image.to_bytes() for image in response.images], list(IMAGES), "the images, in their order")

    @_case("http", "edit", "several_images")
    async def test_every_image_of_an_edit_is_sent(self) -> None:
        """As bytes, or as base64 text."""
        originals = [Image.from_bytes(data) for data in IMAGES]
        async with self._playing(self._reply(1)) as stage:
            await edit_image(stage.engine, originals, PROMPT)
            [request] = stage.server.requests
            for index, data in enumerate(IMAGES):
                sent = data in request.body or base64.b64encode(data) in request.body
                holds(sent, f"image {index} of an edit is in the request")

    @_case()
    async def test_preparing_sends_nothing_and_is_repeatable(self) -> None:
        """And leaves the request as it was."""
        async with self._playing() as stage:
            request = ImageRequest(PROMPT, model=self.model, options={})
            copy = from_json(to_json(request))
            for _ in range(2):
                stage.engine.image_adapter.prepare(request, AdapterOptions())
            same(request, copy, "the request after it was prepared")
            same(stage.server.requests, [], "requests that were sent by prepare")

    @_case("api_key")
    async def test_a_missing_key_is_found_before_anything_is_sent(self) -> None:
        """And the error names where it could come from."""
        async with self._playing(api_key=None) as stage:
            error = await _failure_of(stage.engine, EngineError)
            same(error.reason, "missing_key", "the reason")
            same(stage.server.requests, [], "requests that were sent without a key")

    @_case("http", "api_key")
    async def test_the_key_is_in_a_header_only(self) -> None:
        """Not in the URL, the body, a repr, the response, or an error that quotes it."""
        refusal = Reply.json({"error": {"message": f"the key {KEY} is not valid", "code": 401}}, status=401)
        async with self._playing(self._reply(1), refusal) as stage:
            response = await generate_image(stage.engine, PROMPT)
            error = await _failure_of(stage.engine, ImageAdapterError)
            request = stage.server.requests[0]
            holds(any(KEY in value for value in request.headers.values()), "the key is in a header")
            prepared = stage.engine.image_adapter.prepare(ImageRequest(PROMPT, model=self.model), AdapterOptions())
            texts = {
                "the URL": request.path,
                "the body": request.body.decode("latin-1"),
                "repr(engine)": repr(stage.engine),
                "repr(prepared)": repr(prepared),
                "repr(response)": repr(response),
                "to_json(response)": to_json(response),
                "str(error)": str(error),
                "repr(error)": repr(error),
                "to_json(error)": to_json(error),
            }
            hides(KEY, texts.items())

    @_case("http")
    async def test_error_answers_have_their_reason(self) -> None:
        """With the status; what may pass is tried again, what cannot is not."""
        for status, reason in REASONS.items():
            refusal = Reply.json({"error": {"message": "no", "code": status}}, status=status)
            async with self._playing(refusal, refusal, retry=AT_ONCE) as stage:
                error = await _failure_of(stage.engine, ImageAdapterError)
                same((error.reason, error.status), (reason, status), f"reason and status for HTTP {status}")
                tries = 2 if status in {429, 500} else 1
                same(len(stage.server.requests), tries, f"requests for HTTP {status}, with one retry allowed")

    @_case("http")
    async def test_a_retry_after_is_read(self) -> None:
        """So that whoever retries knows."""
        refusal = Reply.json({"error": {"message": "no", "code": 429}}, status=429, headers={"retry-after": "7"})
        async with self._playing(refusal) as stage:
            error = await _failure_of(stage.engine, ImageAdapterError)
            same(error.retry_after, 7.0, "seconds to wait")

    @_case("http")
    async def test_an_answer_cut_off_anywhere_is_never_a_success(self) -> None:
        """Nor is one that is no JSON, or has no image in it."""
        reply = self._reply(1)
        cuts = sorted({0, 1, len(reply.body) // 2, len(reply.body) - 1})
        strange = [Reply(body=body, headers=reply.headers) for body in (b"", b"<html>", b"null", b"[]", b"{}")]
        cut_off = [attrs.evolve(reply, fault=Cut(after, clean)) for after in cuts for clean in (False, True)]
        for bad in [*cut_off, *strange]:
            async with self._playing(bad) as stage:
                await _failure_of(stage.engine, ImageAdapterError)

    @_case("http")
    async def test_silence_ends_with_a_timeout(self) -> None:
        """Whether before the answer or in the middle of it."""
        reply = self._reply(1)
        for after in (0, len(reply.body) // 2):
            async with self._playing(attrs.evolve(reply, fault=Stall(after))) as stage:
                error = await _failure_of(stage.engine, ImageAdapterError, first_event_timeout=20)
                same(error.reason, "timeout", f"the reason after silence at byte {after}")

    @_case()
    async def test_cancel_at_every_checkpoint(self) -> None:
        """No task is left, the connection is closed or idle, and the next call works."""
        for step in range(MOST_STEPS):
            async with self._playing(self._reply(1), self._reply(1)) as stage:
                with family(at=step) as steps, steps.scope:
                    if step == 0:
                        steps.scope.cancel()
                    await generate_image(stage.engine, PROMPT)
                steps.check_joined(f"after a cancel at step {step}")
                await settled(stage.server, f"after a cancel at step {step}")
                holds((await generate_image(stage.engine, PROMPT)).images, f"the call after a cancel at step {step}")
                if not steps.scope.cancel_called:
                    return
        raise AssertionError(f"a short call took more than {MOST_STEPS} steps")

    # --- for the cases ---

    def _reply(self, images: int) -> Reply:
        if "http" in self.lacks:
            return Reply()
        return attrs.evolve(self.make_reply(IMAGES[:images]), framing="content-length")

    @asynccontextmanager
    async def _playing(
        self, *replies: Reply, api_key: str | None = KEY, retry: RetryPolicy | None = None
    ) -> AsyncGenerator[_Stage]:
        async with WireServer() as server:
            for reply in replies:
                server.add(reply)
            over_http = "http" not in self.lacks
            setup = AdapterSetup(base_url=server.base_url if over_http else NO_SERVER, api_key=api_key)
            engine = Engine(image_adapter=self.make_adapter(setup), image_model=self.model, retry=retry)
            yield _Stage(engine, server)


async def _failure_of(engine: Engine, kind: type[ErrorT], **options: Any) -> ErrorT:
    try:
        response = await generate_image(engine, PROMPT, **options)
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got {response!r}")
