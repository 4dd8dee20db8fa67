"""Common mistakes get an error or a warning that says what to write instead."""

from __future__ import annotations

import logging

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI, OpenAIEmbeddings
from allm.runtime import fitting
from allm.runtime.fitting import forget_advice


@pytest.fixture(autouse=True)
def _fresh_advice():
    forget_advice()


def engine(*items, **fields):
    return allm.Engine(adapter=Fake(script=list(items) or [fake.text("hi")]), **fields)


OPTIONS = {
    "timeout": "request_timeout",
    "stream": "allm.stream_generate",
    "max_completion_tokens": "max_tokens",
    "system": "allm.system",
    "max_retries": "RetryPolicy",
    "extra_body": "options=",
    "temprature": "did you mean 'temperature'",
}


@pytest.mark.parametrize("name", OPTIONS)
async def test_an_option_of_another_library(name):
    """The error names what it is called here."""
    with pytest.raises(allm.OptionError) as caught:
        await allm.generate(engine(), "hi", **{name: 1})
    assert OPTIONS[name] in caught.value.message


MODELS = {
    "gpt-5.4-mini": "'openai:gpt-5.4-mini'",
    "gpt-5.4-mini-2026-03-17": "'openai:gpt-5.4-mini'",
    "gpt-5.6-mini": "openai:gpt-5",
    "claude-sonnet-5": "anthropic:claude-sonnet-",
    "gemini-3-pro": "gemini:gemini-3",
    "openai/gpt-5.4-mini": "'openai:gpt-5.4-mini'",
    "antropic:claude-sonnet-4-6": "'anthropic:claude-sonnet-4-6'",
}


@pytest.mark.parametrize("text", MODELS)
def test_a_model_without_its_provider(text):
    """The error gives the whole name, from the catalog."""
    with pytest.raises(allm.EngineError) as caught:
        allm.Engine.from_model(text)
    assert MODELS[text] in caught.value.message.partition("did you mean")[2]


@pytest.mark.parametrize("where", ["engine", "call"])
async def test_the_provider_before_the_id(where):
    """An adapter gets the id alone; other ids with a colon pass."""
    adapter = OpenAI(api_key="x")
    model = "openai:gpt-5.4-mini"
    with pytest.raises(allm.EngineError, match=r"expected 'gpt-5\.4-mini'"):
        if where == "engine":
            await allm.generate(allm.Engine(adapter=adapter, model=model), "hi")
        else:
            await allm.generate(allm.Engine(adapter=adapter), "hi", model=model)
    assert allm.unwrap(await allm.generate(engine(model="ft:gpt-4o:me::x"), "hi")) == "hi"


CONSTRUCTORS = {
    "positional": (lambda: allm.Engine(Fake(script=[]), "m"), "Engine(adapter=..., model=...)"),
    "the key on the engine": (lambda: allm.Engine(api_key="x"), "belongs to the adapter"),
    "a typo": (lambda: allm.Engine(adaptor=None), "did you mean 'adapter'"),
    "the model on the adapter": (lambda: OpenAI(model="m"), "Engine(adapter=OpenAI(...), model=...)"),
    "a timeout on the adapter": (lambda: Anthropic(timeout=3), "request_timeout"),
    "a typo on the adapter": (lambda: Gemini(base_ulr="x"), "did you mean 'base_url'"),
    "a key by position": (lambda: OpenAI("sk-canary"), "takes no positional arguments"),
    "an embedding adapter": (lambda: OpenAIEmbeddings(model="m"), "belongs to the engine"),
}


@pytest.mark.parametrize("kind", CONSTRUCTORS)
def test_a_wrong_argument_of_a_constructor(kind):
    """The error says where the setting belongs, and shows no value, which may be a key."""
    make, hint = CONSTRUCTORS[kind]
    with pytest.raises(TypeError) as caught:
        make()
    assert hint in str(caught.value)
    assert "canary" not in str(caught.value)


TOOLS = {
    "a function": (lambda: [len], "@allm.tool"),
    "OpenAI's dictionary": (lambda: [{"type": "function"}], "allm.tool(name"),
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_what_is_no_tool(kind):
    """The error says how to make one."""
    make, hint = TOOLS[kind]
    with pytest.raises(allm.ValidationError) as caught:
        await allm.chat(engine(), "hi", tools=make())
    assert hint in caught.value.message
    with pytest.raises(allm.EngineError) as refused:
        allm.Engine(tools=make())
    assert hint in refused.value.message


def test_a_generator_is_no_tool():
    """Its result could not be sent, which would surface at the first call only."""

    def pages(query: str):
        """Search."""
        yield query

    async def more(query: str):
        """Search."""
        yield query

    for function in (pages, more):
        with pytest.raises(allm.ValidationError, match="is a generator"):
            allm.tool(function)


def test_a_tool_that_the_model_has_to_guess_about(caplog):
    """One warning for what is missing, and none for a tool that says all."""

    @allm.tool
    def bare(city):
        return city

    @allm.tool
    def whole(city: str) -> str:
        """Tell the weather."""
        return city

    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2
    assert all("'bare'" in message for message in messages)


async def test_generate_runs_no_tools(caplog):
    """Whoever gives it tools with handlers and looks at the text is told about chat."""

    @allm.tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    call = fake.tool_call("weather", {"city": "Zug"})
    for ask in (
        lambda: allm.generate(engine(call, tools=[weather]), "hi"),
        lambda: allm.generate(engine(call), "hi", tools=[weather]),
        lambda: allm.generate(engine(call), allm.request("hi", tools=[weather])),
    ):
        forget_advice()
        caplog.clear()
        await ask()
        assert "allm.chat" in caplog.text


async def test_a_result_before_anything_was_read(caplog):
    """It is empty, and the log says why; after the block, or after a read, it is what it is."""
    async with allm.stream_generate(engine(), "hi") as events:
        assert events.result().output_text == ""
    assert "until_done" in caplog.text
    caplog.clear()
    forget_advice()
    async with allm.stream_generate(engine(), "hi") as events:
        await anext(events)
        events.result()
    events.result()
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["x.png", "photos/fox.JPEG", "https://example.com/fox.webp"])
def test_the_name_of_an_image_is_no_image(name):
    """A text that is only the name of one is refused beside another text."""
    with pytest.raises(allm.ValidationError, match=r"allm\.Image\.from_"):
        allm.user("What is this?", name)
    assert allm.user(name).text == name


def test_a_file_that_is_not_there():
    """The error comes where the path was written."""
    with pytest.raises(allm.ValidationError, match=r"no image file 'no/such\.png'"):
        allm.Image.from_file("no/such.png")


async def test_an_option_without_a_counterpart(caplog):
    """It is left out, and the log says so once."""
    for adapter in (Anthropic(api_key="x"), Gemini(api_key="x")):
        made = allm.Engine(adapter=adapter, model="m")
        for _ in range(2):
            async with allm.stream_generate(made, "hi", verbosity="low"):
                pass
    messages = [record.getMessage() for record in caplog.records if "verbosity" in record.getMessage()]
    assert messages == [f"verbosity has no counterpart at {name} and is left out" for name in ("anthropic", "gemini")]


def test_what_was_advised_is_not_kept_for_ever():
    """Of names that are new in each request, no more are known than there is room for."""
    for number in range(3 * fitting._MOST_ADVISED):
        fitting.advise("fake", "", f"tool {number}", "say more")
    assert len(fitting._advised) <= fitting._MOST_ADVISED
