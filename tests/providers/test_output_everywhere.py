"""An answer of any type, asked for in every way, of every vendor."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types
import pytest

import allm
from allm import fake
from allm.data.types.output import answer_name
from allm.providers.anthropic.structured import native_schema
from allm.providers.openai.presets import OPENAI
from allm.providers.openai.strict import as_sent
from allm.testing import Reply, WireServer
from data.types import test_table
from request_types import check_anthropic, check_gemini, check_openai_chat, check_openai_responses, vendor

MODES = ("native", "tool", "prompted")


@dataclass
class Trip:
    """A trip."""

    city: str


@dataclass
class Refused:
    reason: str


TYPES = {
    "class": (Trip, '{"city": "Zug"}', Trip("Zug")),
    "list": (list[Trip], '{"value": [{"city": "Zug"}]}', [Trip("Zug")]),
    "literal": (Literal["yes", "no"], '{"value": "no"}', "no"),
    "scalar": (int, '{"value": 7}', 7),
    "union": (Trip | Refused | None, '{"value": {"reason": "rain"}}', Refused("rain")),
    "map": (dict[str, int], '{"a": 1}', {"a": 1}),
}
WIRES = {
    "openai": lambda server: allm.providers.OpenAI(
        api_key="k", base_url=server.url("openai"), endpoint="chat_completions"
    ),
    "openai_responses": lambda server: allm.providers.OpenAI(
        api_key="k", base_url=server.url("openai_responses"), endpoint="responses"
    ),
    "anthropic": lambda server: allm.providers.Anthropic(api_key="k", base_url=server.url("anthropic")),
    "gemini": lambda server: allm.providers.Gemini(api_key="k", base_url=server.url("gemini")),
}
MODELS = {"openai": "gpt-5.4", "openai_responses": "gpt-5.4", "anthropic": "claude-haiku-4-5", "gemini": "gemini-3-pro"}


CHECKS = {
    "openai": check_openai_chat,
    "openai_responses": check_openai_responses,
    "anthropic": lambda body: check_anthropic(body, "2023-06-01"),
    "gemini": check_gemini,
}


EVERYWHERE = pytest.mark.parametrize(
    ("wire", "mode", "kind"),
    [
        (wire, mode, kind)
        for wire, mode, kind in itertools.product(WIRES, MODES, TYPES)
        if (wire, mode, kind) != ("anthropic", "native", "map")  # whose structured output has no objects of any keys
    ],
)


def script(mode, text, name):
    return [
        fake.reasoning("Hm."),
        fake.tool_call(f"answer_{name}", raw_arguments=text) if mode == "tool" else fake.text(text),
        fake.usage(input_tokens=20, output_tokens=10),
    ]


@EVERYWHERE
async def test_every_mode_with_every_vendor(wire, mode, kind):
    """The value, the text, its pieces, the usage and the end are the same; the schema goes out as the mode has it."""
    hint, text, made = TYPES[kind]
    name = answer_name(hint)
    async with WireServer() as server:
        server.add(Reply.script(wire, script(mode, text, name)))
        engine = allm.Engine(adapter=WIRES[wire](server), model=MODELS[wire], params={"max_tokens": 100})
        async with allm.stream_generate(engine, "Where?", response_format=hint, output_mode=mode) as events:
            seen = [event async for event in events]
    response = events.result()
    assert response.parsed() == made
    assert json.loads(response.output_text) == json.loads(text)
    assert "".join(event.delta for event in seen if isinstance(event, allm.TextDelta)) == response.output_text
    assert not [event for event in seen if isinstance(event, allm.ToolCallDelta | allm.ToolCallCompleted)]
    assert (response.finish_reason, response.tool_calls) == ("stop", ())
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 10)
    assert seen[-1].message == response.message
    assert seen[-1].finish_reason == response.finish_reason
    body = server.requests[0].json()
    has_tool = "answer_" in json.dumps(body.get("tools", []))
    asks = any(key in json.dumps(body) for key in ("json_schema", "responseJsonSchema"))
    assert (has_tool, asks) == (mode == "tool", mode == "native")
    assert ("JSON Schema below" in json.dumps(body)) == (mode == "prompted")


@EVERYWHERE
async def test_the_vendors_take_the_requests(wire, mode, kind):
    """By their own types."""
    hint, text, _ = TYPES[kind]
    async with WireServer() as server:
        server.add(Reply.script(wire, [fake.text(text)]))
        engine = allm.Engine(adapter=WIRES[wire](server), model=MODELS[wire], params={"max_tokens": 100})
        await allm.generate(engine, "Where?", response_format=hint, output_mode=mode)
    CHECKS[wire](server.requests[0].json())


@dataclass
class Stay:
    """Has what vendors do not enforce: a length, a default, bounds, places of a list."""

    city: Annotated[str, annotated_types.MinLen(2)]
    nights: Annotated[int, annotated_types.Lt(9)] = 1
    room: tuple[int, int] = (1, 1)


@pytest.mark.parametrize("wire", ["anthropic", "gemini"])  # at its own address, OpenAI is a server that may know more
async def test_what_a_vendor_does_not_enforce_is_told_and_still_checked(wire):
    """The schema that goes out has it in words; `parsed()` refuses what does not keep to it."""
    async with WireServer() as server:
        server.add(Reply.script(wire, [fake.text('{"city": "Z", "nights": 9, "room": ["a", 1, 1]}')]))
        engine = allm.Engine(adapter=WIRES[wire](server), model=MODELS[wire], params={"max_tokens": 100})
        response = await allm.generate(engine, "Where?", response_format=Stay)
    sent = server.requests[0].json()
    assert '"minLength":' not in json.dumps(sent)
    assert "minLength: 2" in json.dumps(sent)
    assert "default: 1" in json.dumps(sent)
    with pytest.raises(allm.ValidationError) as caught:
        response.parsed()
    assert [problem.path for problem in caught.value.problems] == [("city",), ("nights",), ("room",)]


@pytest.mark.parametrize("text", [row[0] for row in test_table.ROWS])
def test_the_vendors_own_sdks_change_nothing(text):
    """Each kind of type is sent as the SDK of the vendor would rewrite it for structured output."""
    anthropic_sdk = vendor("anthropic.lib._parse._transform")
    openai_sdk = vendor("openai.lib._pydantic")
    wanted = test_table.answer_format(text)
    if (sent := native_schema(wanted)) is not None:
        assert anthropic_sdk.transform_schema(copy.deepcopy(sent)) == sent
    sent, strict = as_sent(wanted, OPENAI)
    if strict:
        assert openai_sdk._ensure_strict_json_schema(copy.deepcopy(sent), path=(), root=sent) == sent
