"""Cases for complete responses: every kind of content, its order, and its fold."""

from __future__ import annotations

from typing import Any

import attrs

from allm import fake
from allm.data.events import Event, MessageCompleted
from allm.data.json.codec import from_json, to_json
from allm.data.response import FinishReason, Response
from allm.execution.generate import generate, stream_generate
from allm.execution.stream.folds import StreamCollector
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.event_grammar import check_order
from allm.testing.conformance.prepare_cases import PrepareCases
from allm.testing.conformance.samples import (
    TEXT,
    UNICODE,
    foreign_thread,
    full_request,
    short_response,
    tool_turns,
    two_tools,
)
from allm.testing.conformance.setup import KEY, Stage, case

__all__ = ["ResponseCases", "read"]

CITIES: tuple[dict[str, Any], ...] = (
    {"city": "Zürich"},
    {"city": "Bern", "days": [1, 2.5, None, True], "deep": {"a": {"b": '"\\'}}},
    {},
)
CANARY_RESULT = "twenty-one degrees, says the tool"


async def read(stage: Stage, request: Any = "hi", **options: Any) -> tuple[list[Event], Response]:
    """Make a call; returns its events and its result."""
    async with stream_generate(stage.engine(), request, **options) as events:
        seen = [event async for event in events]
    return seen, events.result()


class ResponseCases(PrepareCases):
    """Cases for responses without a failure."""

    async def respond(self, *script: fake.ScriptItem, request: Any = "hi", **options: Any) -> Response:
        """Play a script, check the order of its events, and return the response."""
        async with self.playing(script) as stage:
            events, response = await read(stage, request, **options)
        if response.error is not None:
            raise AssertionError(f"a complete response has an error: {response.error!r}") from response.error
        check_order(events)
        return response

    @case()
    async def test_text_arrives(self) -> None:
        """The whole text arrives, in several events if the provider sends several."""
        response = await self.respond(*TEXT)
        same(response.output_text, "one two three four five six", "the text")
        same(response.finish_reason, "stop", "the finish reason")
        same(response.message.role, "assistant", "the role of the message")

    @case()
    async def test_any_character_arrives_unchanged(self) -> None:
        """Splitting, decoding and joining do not change the text."""
        response = await self.respond(fake.text(UNICODE))
        same(response.output_text, UNICODE, "the text")

    @case()
    async def test_empty_response_is_a_response(self) -> None:
        """A response without content is complete."""
        response = await self.respond()
        same(
            (response.output_text, response.finish_reason), ("", "stop"), "text and finish reason of an empty response"
        )

    @case("tools")
    async def test_several_tool_calls_arrive(self) -> None:
        """The calls are in order after the text, each with a unique id, its name and its arguments."""
        calls = [fake.tool_call("get_weather", args, id=f"call_{n}") for n, args in enumerate(CITIES)]
        response = await self.respond(fake.text("Let me see."), *calls, request="hi", tools=self.tools)
        same(response.output_text, "Let me see.", "the text before the calls")
        same([call.name for call in response.tool_calls], ["get_weather"] * len(CITIES), "the names of the calls")
        same([call.arguments for call in response.tool_calls], list(CITIES), "the arguments of the calls")
        ids = [call.id for call in response.tool_calls]
        holds(all(ids) and len(set(ids)) == len(ids), f"every call must have a unique id: {ids}")
        same(response.finish_reason, "tool_calls", "the finish reason")

    @case("tools", "invalid_arguments")
    async def test_invalid_arguments_are_kept_as_text(self) -> None:
        """If they are not a JSON object, `arguments` is None and `raw_arguments` is the text."""
        for raw in ('{"city": "Zür', "not json", "[1]"):
            response = await self.respond(
                fake.tool_call("get_weather", id="call_1", raw_arguments=raw), tools=self.tools
            )
            [call] = response.tool_calls
            same((call.arguments, call.raw_arguments), (None, raw), "arguments and raw_arguments")

    @case("reasoning")
    async def test_reasoning_is_separate_from_the_text(self) -> None:
        """It is a part of its own before the text, and not in the visible text."""
        response = await self.respond(fake.reasoning("First I think."), fake.text("Then I speak."))
        same(response.output_text, "Then I speak.", "the visible text")
        same(response.reasoning_text, "First I think.", "the readable reasoning")
        kinds = [type(part).__name__ for part in response.message.parts]
        same(kinds, ["ReasoningPart", "TextPart"], "the parts of the message, in order")

    @case("citations")
    async def test_sources_are_citations_of_their_text(self) -> None:
        """Each has its address, and a place in the text, if it has one, behind any characters."""
        urls = ["https://one.example/a_(b)", "https://two.example"]
        first, second = fake.citation(0, 6, url=urls[0], title="One"), fake.citation(7, 9, url=urls[1], title="Two")
        response = await self.respond(fake.text(UNICODE), first, fake.text(" And more."), second)
        same([citation.url for citation in response.citations], urls, "the addresses of the citations")
        same([citation.title for citation in response.citations], ["One", "Two"], "the titles of the citations")
        same(response.output_text, f"{UNICODE} And more.", "the text")

    @case("usage")
    async def test_usage_is_reported(self) -> None:
        """Reported counts are in the response; a count that was not reported is None, a reported 0 is 0."""
        counts = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
        response = await self.respond(*TEXT, fake.usage(**counts))
        usage = response.usage
        same((usage.input_tokens, usage.output_tokens), (11, 7), "input and output tokens")
        holds(usage.total_tokens in {None, 18}, f"total_tokens is {usage.total_tokens}; expected 18 or None")

    @case()
    async def test_finish_reasons_are_distinguished(self) -> None:
        """Each has the library's name, and the provider's own beside it."""
        for reason in self.finish_reasons:
            response = await self.respond(fake.text("Some text."), fake.finish(reason))
            same(response.finish_reason, reason, "the finish reason")
            holds(
                response.raw_finish_reason, f"raw_finish_reason is empty for {reason!r}; expected the provider's name"
            )

    @case()
    async def test_fold_of_the_events_is_the_blocking_call(self) -> None:
        """`generate` and the stream give the same response, and `MessageCompleted` has the same message."""
        script = short_response(self.capabilities)
        async with self.playing(script, script) as stage:
            events, response = await read(stage, tools=self.tools)
            blocking = await generate(stage.engine(), "hi", tools=self.tools)
        same(blocking, response, "generate against the fold of stream_generate")
        fold = StreamCollector()
        for event in events:
            fold.add(event)
        same(fold.response(), response, "the fold of the events by hand against the stream's result")
        check_order(events)
        whole = [event.message.parts for event in events if isinstance(event, MessageCompleted)]
        same(whole, [response.message.parts], "the message of MessageCompleted against the fold")

    @case()
    async def test_every_prefix_of_the_events_is_a_valid_response(self) -> None:
        """Each prefix survives JSON, and extends the one before it."""
        async with self.playing(short_response(self.capabilities)) as stage:
            events, response = await read(stage, tools=self.tools)
        fold, text = StreamCollector(), ""
        for event in events:
            fold.add(event)
            prefix = fold.response()
            same(from_json(to_json(prefix)), prefix, "a prefix against itself after JSON")
            holds(prefix.output_text.startswith(text), f"text went from {text!r} to {prefix.output_text!r}")
            text = prefix.output_text
            expected: FinishReason | None = response.finish_reason if event is events[-1] else None
            same(prefix.finish_reason, expected, f"the finish reason after {event!r}")

    @case()
    async def test_request_is_unchanged_by_the_call(self) -> None:
        """A call does not change its request, so that it can be sent again."""
        request = attrs.evolve(full_request(self.model, self.capabilities), options={"user": {"id": [1]}})
        before = to_json(request)
        async with self.playing(TEXT) as stage:
            await generate(stage.engine(), request)
        same(to_json(request), before, "the request after the call")

    @case()
    async def test_conversation_of_another_provider_can_continue(self) -> None:
        """Reasoning, signatures and server tools of another provider are not an obstacle."""
        response = await self.respond(*TEXT, request=foreign_thread(self.capabilities), tools=self.tools)
        same(response.output_text, "one two three four five six", "the text")

    @case("tools")
    async def test_response_can_be_sent_back_with_tool_results(self) -> None:
        """The round trip: tool calls, their results, and the next response."""
        calls = [fake.tool_call("get_weather", {"city": "Zürich"}), fake.tool_call("get_time", {"city": "Zürich"})]
        async with self.playing((fake.text("Let me see."), *calls), TEXT) as stage:
            first = await generate(stage.engine(), "What is the weather?", tools=self.tools)
            question, _, *_ = tool_turns("")
            ids = [call.id for call in first.tool_calls]
            results = tool_turns(CANARY_RESULT)[2:]
            results = [attrs.evolve(result, tool_call_id=call) for result, call in zip(results, ids, strict=True)]
            second = await generate(stage.engine(), [question, first.message, *results], tools=self.tools)
            same(second.output_text, "one two three four five six", "the response to the results")
            if stage.server is not None:
                body = stage.server.requests[1].body.decode()
                holds(CANARY_RESULT in body, f"the tool's result is not in the second request: {body}")
                holds("Let me see." in body, f"the text of the first response is not in the second request: {body}")

    @case("http", "api_key")
    async def test_key_goes_into_a_header_and_that_of_the_call_wins(self) -> None:
        """It is never in the URL, which servers and proxies log, nor in the body."""
        other = KEY.replace("conformance", "of-the-call")
        async with self.playing(TEXT, TEXT) as stage:
            await generate(stage.engine(), "hi")
            await generate(stage.engine(), "hi", api_key=other)
            for request, key in zip(stage.http.requests, (KEY, other), strict=True):
                headers = " ".join(request.headers.values())
                holds(key in headers, f"{'the call' if key == other else 'the adapter'}'s key is in no header")
                holds(key not in request.path and key not in request.body.decode(), "the key is in the URL or the body")
            [_, last] = stage.http.requests
            holds(KEY not in " ".join(last.headers.values()), "the call's key did not replace the adapter's")

    @property
    def tools(self) -> tuple[Any, ...]:
        """The tools of requests."""
        return two_tools() if self.has("tools") else ()
