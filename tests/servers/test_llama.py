"""Tests against llama.cpp, a real inference engine: tokens, grammars, aborts. The model is made by `tiny_model.py`."""

from __future__ import annotations

import dataclasses
import enum
import gc
import json
import platform
import sys
import types
import typing
import urllib.request
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import annotated_types
import pytest
import trio

import allm
from data.types.test_table import NAMES, ROWS, evaluated
from servers import vendors
from servers.vendors import KEY

if (sys.platform, platform.machine()) != ("linux", "x86_64"):
    pytest.skip("xllamacpp, the llama.cpp of these tests, is built for x86_64 Linux", allow_module_level=True)
llama = pytest.importorskip("xllamacpp", reason="xllamacpp is installed by `nox -s servers`")
from servers import tiny_model  # noqa: E402  # it needs gguf, which comes along

Json = NAMES["Json"]  # an alias that names itself is looked up where it is used
WIRE_FORMATS = [name for name in ("openai_chat", "openai_responses", "anthropic") if name in vendors.VENDORS]
SLOTS = 2
ENDLESS = 1900  # tokens: most of the context, and seconds of work
BEGUN = [allm.user("hello"), allm.assistant("x")]  # after a letter the model never ends


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server's address. It runs in its own threads and stops when it is garbage-collected."""
    settings = llama.CommonParams()
    settings.model.path = str(tiny_model.write(tmp_path_factory.mktemp("model") / "tiny.gguf"))
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [KEY]
    settings.n_ctx = tiny_model.CONTEXT * SLOTS
    settings.n_parallel = SLOTS
    settings.n_batch = settings.n_ubatch = 256
    settings.cpuparams.n_threads = 1
    settings.sampling.temp = 0.0
    settings.use_jinja = True
    settings.endpoint_slots = True
    settings.warmup = False
    settings.verbosity = -1
    server = llama.Server(settings)
    yield server.listening_address
    del server
    gc.collect()


@pytest.fixture(params=WIRE_FORMATS)
def ask_at(request, server):
    """A function that makes an engine for one of the wire formats that the server speaks."""
    url = server if request.param == "anthropic" else f"{server}/v1"

    def make(**options):
        return vendors.engine(request.param, url, model="tiny", **options)

    return make


def only(*names):
    """Run a test for these wire formats."""
    return pytest.mark.parametrize("ask_at", [name for name in names if name in WIRE_FORMATS], indirect=True)


def slots(server):
    """The state of the server's slots, one for each response it can work on at the same time."""
    request = urllib.request.Request(f"{server}/slots", headers={"authorization": f"Bearer {KEY}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


async def busy(server):
    """Whether the server is working on a response."""
    return any(slot["is_processing"] for slot in await trio.to_thread.run_sync(slots, server))


async def idle(server):
    """Wait until the server is idle."""
    with trio.fail_after(10):
        while await busy(server):  # noqa: ASYNC110 - the server can only be polled
            await trio.sleep(0.02)


async def test_text_arrives_token_by_token(ask_at):
    """The emoji is assembled from its bytes."""
    async with allm.stream_generate(ask_at(), "hello") as events:
        pieces = [piece async for piece in events.text()]
    response = events.result()
    assert allm.unwrap(response) == tiny_model.SAID
    assert len(pieces) > 8
    assert response.usage.input_tokens > 5
    assert response.usage.output_tokens > 10


async def test_system_and_earlier_turns_are_sent(ask_at):
    """A conversation with an earlier response in it is accepted."""
    thread = [allm.system("Be brief."), allm.user("hello"), allm.assistant("Good day."), allm.user("Again?")]
    assert allm.unwrap(await allm.generate(ask_at(), thread)) == tiny_model.SAID


@only("openai_chat", "anthropic")  # on the Responses API llama.cpp reports such a response as completed
async def test_token_limit(ask_at):
    """The response ends with `length`."""
    response = await allm.generate(ask_at(), "hello", max_tokens=5)
    assert response.finish_reason == "length"
    assert tiny_model.SAID.startswith(response.output_text)


async def test_chat_with_a_tool(ask_at):
    """The grammar forces valid arguments, the handler runs, and the second prompt has the result."""
    asked = []

    def handler(arguments):
        asked.append(arguments)
        return {"degrees": 21}

    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Bern", "Zug"]}},
        "required": ["city"],
    }
    weather = allm.Tool("get_weather", "The weather of a city.", schema, handler=handler)
    result = await allm.chat(ask_at(), "What is the weather?", tools=[weather], max_tokens=200)
    assert result.halted_reason == "completed"
    assert asked in ([{"city": "Bern"}], [{"city": "Zug"}])
    assert result.output_text == tiny_model.SAID
    assert len(result.steps) == 2
    assert result.usage.output_tokens > result.steps[1].response.usage.output_tokens


KIND = {"enum": ["a", "b"]}
NODE = {  # refers to itself and to a definition
    "type": "object",
    "properties": {
        "kind": {"$ref": "#/$defs/Kind"},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    },
    "required": ["kind", "next"],
    "$defs": {"Kind": KIND},
}


@only("openai_chat")  # the other APIs of llama.cpp do not look at the output format
@pytest.mark.parametrize(("choice", "several"), [("required", True), ("get_weather", False), ("set_node", False)])
async def test_prompted_tools(ask_at, choice, several):
    """The grammar leaves the model nothing but calls of the tools, with arguments that fit; then they have run."""
    asked = []
    city = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Bern", "Zug"]}},
        "required": ["city"],
    }
    tools = [
        allm.Tool("get_weather", "The weather of a city.", city, handler=asked.append),
        allm.Tool("set_node", "Sets a node.", NODE, handler=asked.append),
    ]
    options = {"tools": tools, "tool_choice": choice, "tool_mode": "prompted", "parallel_tool_calls": several}
    step = await allm.step(ask_at(), "hello", max_tokens=400, **options)
    calls = step.response.tool_calls
    assert step.response.finish_reason == "tool_calls", step.response
    assert calls
    assert not any(message.is_error for message in step.tool_results)
    assert len(asked) == len(calls)
    for call in calls:
        assert choice in {"required", call.name}
        if call.name == "get_weather":
            assert call.arguments in ({"city": "Bern"}, {"city": "Zug"})
        else:
            assert call.arguments["kind"] in KIND["enum"]


@only("openai_chat")  # the other APIs of llama.cpp do not look at the output format
async def test_prompted_tools_and_an_answer_of_a_type(ask_at):
    """A reply is a call, or an answer that fits."""
    weather = allm.Tool("get_weather", "", {"type": "object", "properties": {}}, handler=lambda _: "rain")
    options = {"tools": [weather], "tool_mode": "prompted", "response_format": Box[bool], "max_tokens": 300}
    response = await allm.generate(ask_at(), "hello", **options)
    assert response.tool_calls or isinstance(response.parsed(), Box)


@only("openai_chat")  # the other APIs of llama.cpp do not look at the output format
async def test_response_that_fits_a_schema(ask_at):
    """A grammar made from the schema restricts the model."""
    schema = {
        "type": "object",
        "properties": {
            "size": {"type": "string", "enum": ["small", "big"]},
            "number": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["size", "number"],
        "additionalProperties": False,
    }
    response = await allm.generate(ask_at(), "hello", response_format=allm.json_schema("thing", schema), max_tokens=200)
    thing = json.loads(allm.unwrap(response))
    assert thing["size"] in {"small", "big"}
    assert 1 <= thing["number"] <= 9


T = TypeVar("T")


class Size(enum.Enum):
    """Of a thing."""

    SMALL = "small"
    BIG = "big"


class Point(NamedTuple):
    """Of a grid."""

    x: Annotated[int, annotated_types.Interval(ge=1, le=9)]
    is_edge: bool = False


@dataclasses.dataclass
class Box(Generic[T]):
    """Holds a thing."""

    thing: T
    size: Size = Size.SMALL


OUTPUTS = {
    "class": (Box[bool], Box),
    "literal": (Literal["yes", "no"], str),
    "mixed literal": (Literal["yes", 1, True], object),
    "enum": (Size, Size),
    "number": (Annotated[int, annotated_types.Interval(ge=1, le=9)], int),
    "truth": (bool, bool),
    "list": (Annotated[list[Box[Size]], annotated_types.MaxLen(2)], list),
    "tuple": (tuple[bool, Literal["a", "b"]], tuple),
    "NamedTuple": (Point, Point),
    "optional": (Size | None, object),
    "union": (Box[bool] | Point | Size, object),
}


@only("openai_chat")  # the other APIs of llama.cpp do not look at the output format
@pytest.mark.parametrize("kind", OUTPUTS)
async def test_an_answer_of_any_type(ask_at, kind):
    """The grammar made from the schema gives an instance of it."""
    hint, made = OUTPUTS[kind]
    response = await allm.generate(ask_at(), "hello", response_format=hint, max_tokens=300)
    assert response.finish_reason == "stop", response.output_text
    assert isinstance(response.parsed(), made)


@pytest.mark.parametrize("kind", OUTPUTS)
async def test_an_answer_of_any_type_as_a_tool(ask_at, kind):
    """The engine is held to calling it, with every wire format, and the response is one of text."""
    hint, made = OUTPUTS[kind]
    response = await allm.generate(ask_at(), "hello", response_format=hint, output_mode="tool", max_tokens=300)
    assert (response.finish_reason, response.tool_calls) == ("stop", ()), response.output_text
    assert isinstance(response.parsed(), made)


# What llama.cpp's grammars do not have: the server takes the schema, and the model may write any text in its place.
NOT_HELD = {
    "Annotated[str, pydantic.StringConstraints(min_length=2, pattern='^a')]": "a pattern without an end",
    "Annotated[str, msgspec.Meta(pattern='^a', max_length=3)]": "a pattern without an end",
    "Annotated[float, at.Interval(gt=0, lt=1)]": "bounds of a number that is no integer",
    "Annotated[Decimal, at.Ge(0)]": "the format decimal",
    "Decimal": "the format decimal",
    "dt.timedelta": "the format duration",
    "ipaddress.IPv4Address": "the format ipv4",
    "pydantic.HttpUrl": "the format uri",
    "tuple[int, *tuple[str, ...]]": "prefixItems beside items",
    "dict[int, str]": "propertyNames",
    "dict[Literal['a', 'b'], int]": "propertyNames",
    "dict[Annotated[str, at.MinLen(2)], int]": "propertyNames",
}


@only("openai_chat")  # the other APIs of llama.cpp do not look at the output format
@pytest.mark.parametrize(("text", "made"), [(row[0], row[2]) for row in ROWS], ids=[row[0] for row in ROWS])
async def test_every_output_type(ask_at, text, made):
    """Of the table in docs/types.md: the grammar makes a value that `parsed()` gives as an instance of the type.

    Where the server's grammars lack a keyword, this model, which knows nothing of the schema, writes anything, which is
    an error.
    """
    hint = type(None) if text == "None" else evaluated(text)  # a format that is None is no format
    response = await allm.generate(ask_at(), "hello", response_format=hint, output_mode="native", max_tokens=300)
    assert allm.unwrap(response)
    if text in NOT_HELD:
        with pytest.raises(allm.ValidationError) as caught:
            response.parsed()
        assert caught.value.reason == "invalid_output"
    else:
        assert is_of(response.parsed(), hint, type(evaluated(made)))


def is_of(found, hint, kind):
    """Whether a value is of the type: of the class of the row's own value, or of another member of a union."""
    members = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return found in members
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(isinstance(found, typing.get_origin(member) or member) for member in members)
    return type(found) is kind or hint is typing.Any


@only("openai_chat")
async def test_classification(ask_at):
    """The grammar leaves the model nothing but the choices, and the tokens give their probabilities."""
    topics = allm.Question(["rain", "snow"], several=True)
    questions = {"city": ["Bern", "Zug", "Zürich"], "score": range(8, 12), "topics": topics, "urgent": bool}
    result = await allm.classify(ask_at(), "hello", questions)
    assert result["city"] in questions["city"]
    assert result["score"] in questions["score"]
    assert set(result["topics"]) <= {"rain", "snow"}
    assert sum(result.probabilities["urgent"].values()) == pytest.approx(1)
    assert result.probabilities["urgent"][result["urgent"]] > 0.5
    assert all(0 < probability < 1 for probability in result.probabilities["topics"].values())
    assert result.probabilities["city"] is None  # before the grammar, no city was among the likeliest tokens


@pytest.mark.parametrize("way", ["break", "deadline"])
async def test_leaving_stops_the_engine(ask_at, server, way):
    """A response of a thousand tokens is not computed to its end after the client has left."""
    with trio.CancelScope() as scope:
        async with allm.stream_generate(ask_at(), BEGUN, max_tokens=ENDLESS) as events:
            count = 0
            async for event in events:
                count += isinstance(event, allm.TextDelta)
                if count == 10:
                    assert await busy(server)
                    if way == "break":
                        break
                    scope.deadline = trio.current_time()
    assert scope.cancelled_caught == (way == "deadline")
    await idle(server)
    assert events.result().finish_reason is None
    assert max(slot.get("n_prompt_tokens", 0) for slot in slots(server)) < ENDLESS  # generated tokens are included


async def test_concurrent_calls(ask_at):
    """There are more than the server has slots; they wait there, and each gets a response."""
    engine, responses = ask_at(), []

    async def ask():
        responses.append(await allm.generate(engine, "hello"))

    async with trio.open_nursery() as nursery:
        for _ in range(3 * SLOTS):
            nursery.start_soon(ask)
    assert [response.output_text for response in responses] == [tiny_model.SAID] * 3 * SLOTS


async def test_wrong_key(ask_at):
    """It is refused, and the error does not show the key."""
    response = await allm.generate(ask_at(api_key="some-other-key", retry=allm.RetryPolicy()), "hello")
    assert response.error.reason == "authentication_failed"
    assert response.error.status == 401
    assert not response.error.retryable
    assert "some-other-key" not in repr(response)


async def test_prompt_that_is_too_long(ask_at):
    """It is distinguished from other refusals."""
    response = await allm.generate(ask_at(retry=allm.RetryPolicy()), "many words " * tiny_model.CONTEXT)
    assert response.error.reason == "context_length_exceeded"
    assert response.error.status == 400
    assert not response.error.retryable
