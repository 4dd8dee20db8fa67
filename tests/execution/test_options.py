"""Every option: its precedence, its valid values, and the errors for mistakes."""

from __future__ import annotations

import itertools
import logging
import math

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.data.tool import Tool
from allm.execution.options import engine_for_chat, resolve
from allm.execution.services.embeddings import EMBEDDINGS
from allm.execution.services.images import IMAGES
from allm.execution.services.moderation import MODERATION
from allm.execution.services.service import UnaryOptions
from allm.execution.services.speech import SPEECH
from allm.execution.services.transcription import TRANSCRIPTION
from allm.execution.services.unary import resolve_unary
from allm.http.keys import Secret
from allm.runtime.adapters import AdapterOptions
from allm.runtime.call_options import ExecutionOptions
from allm.runtime.option_table import OPTIONS
from allm.runtime.retry import RetryPolicy

LAYERS = ("application", "engine", "request", "call")  # a later one wins


def policy(attempts):
    return RetryPolicy(max_attempts=attempts)


def stop(step):
    return True


def schema(name):
    return allm.json_schema(name, {"type": "object"})


@attrs.frozen
class Row:
    """One option: a value for each layer, the library's default, where it ends up, and invalid values."""

    values: tuple
    read: object
    default: object = None
    wrong: tuple = ()
    bad: tuple = ()
    in_request: bool = False


def of_request(name):
    return lambda call: getattr(call.request, name)


def of_adapter(name):
    return lambda call: getattr(call.adapter_options, name)


def execution(name):
    return lambda call: getattr(call.execution_options, name)


def words(name, read=of_adapter):
    return Row(("a", "b", "c", "d"), read(name), wrong=(7, b"a", ["a"]))


def seconds(name, default):
    return Row(
        (1, 2.5, 3, None),
        execution(name),
        default,
        wrong=("5", True, [1], 10**400),
        bad=(0, -1, math.nan, -math.inf),
    )


def flag(name, *, default):
    return Row((True, False, True, False), execution(name), default, wrong=(1, "yes", None))


def cache(name):
    return allm.Cache(provider="fake", name=name, model="m")


def callback(name):
    return Row((print, repr, len, stop), execution(name), wrong=("print", 7))


COUNTS = (4, 3, 2, 1)
ROWS = {
    "model": Row(("a", "b", "c", "d"), of_request("model"), wrong=(7, b"gpt"), bad=("",), in_request=True),
    "tool_choice": Row(
        ("auto", "none", {"type": "x"}, "required"), of_request("tool_choice"), wrong=(7, ["auto"]), in_request=True
    ),
    "temperature": Row(
        (0.1, 0.2, 0.3, 0),
        of_request("temperature"),
        wrong=("0.5", True, [0.5]),
        bad=(-0.1, 2.1, math.nan),
        in_request=True,
    ),
    "max_tokens": Row(COUNTS, of_request("max_tokens"), wrong=("5", 5.0, True), bad=(0, -1), in_request=True),
    "top_p": Row(
        (0.1, 0.2, 0.3, 0), of_request("top_p"), wrong=("0.5", True, [0.5]), bad=(-0.1, 1.1, math.nan), in_request=True
    ),
    "stop": Row(
        (("a",), ("b", "c"), ("d",), ()),
        of_request("stop"),
        wrong=(7, b"a", {"a": 1}),
        bad=("", [""], ["a", 7]),
        in_request=True,
    ),
    "seed": Row((4, 3, 2, 0), of_request("seed"), wrong=("5", 5.0, True), in_request=True),
    "logprobs": Row((4, 3, 2, 0), of_request("logprobs"), wrong=("5", 5.0, True), bad=(-1,), in_request=True),
    "parallel_tool_calls": Row(
        (True, False, True, False), of_request("parallel_tool_calls"), wrong=(1, "yes"), in_request=True
    ),
    "service_tier": Row(
        ("auto", "flex", "default", "priority"),
        of_request("service_tier"),
        wrong=(7, b"flex"),
        bad=("",),
        in_request=True,
    ),
    "response_format": Row(
        (schema("a"), "json", {"type": "x"}, schema("d")),
        of_request("response_format"),
        wrong=(7, [schema("a")]),
        bad=("yaml", schema("no name"), complex, allm.JsonSchema("n", "x")),
        in_request=True,
    ),
    "structured_finalize": Row(
        (False, True, True, False),
        of_request("structured_finalize"),
        default=False,
        wrong=(1, "yes", None),
        in_request=True,
    ),
    "reasoning_effort": words("reasoning_effort"),
    "reasoning_summary": words("reasoning_summary"),
    "verbosity": words("verbosity"),
    "prompt_cache": Row(
        (True, "5m", "1h", False), lambda call: call.adapter_options.prompt_cache, wrong=(7, "2h", "", ["5m"])
    ),
    "prompt_cache_key": words("prompt_cache_key"),
    "cached_content": Row(
        (cache("a"), cache("b"), cache("c"), None), of_adapter("cached_content"), wrong=("cachedContents/a", 7)
    ),
    "api_key": Row(
        ("a", "b", "c", Secret("d")),
        lambda call: call.adapter_options.api_key and call.adapter_options.api_key.reveal(),
        wrong=(7, b"key"),
    ),
    "base_url": words("base_url"),
    "request_id": words("request_id"),
    "session_id": words("session_id"),
    "mode": Row(("auto", "manual", "auto", "manual"), execution("mode"), "auto", wrong=(7, None), bad=("Auto", "")),
    "max_turns": Row(COUNTS, execution("max_turns"), 8, wrong=("5", 5.0, True, None), bad=(0, -1)),
    "before_step": callback("before_step"),
    "halt_when": callback("halt_when"),
    "compact": callback("compact"),
    "on_tool_error": Row(
        ("halt", "continue", print, "halt"),
        execution("on_tool_error"),
        "continue",
        wrong=(7, None, "stop", ["halt"]),
    ),
    "tool_timeout": seconds("tool_timeout", 30.0),
    "max_concurrency": Row((4, 3, 2, None), execution("max_concurrency"), wrong=("5", 5.0, True), bad=(0, -1)),
    "structured_finalize_nudge": Row(
        ("a", "b", "c", ""),
        execution("structured_finalize_nudge"),
        ExecutionOptions().structured_finalize_nudge,
        wrong=(7, None),
    ),
    "output_mode": Row(
        ("native", "tool", "prompted", "auto"), execution("output_mode"), "auto", wrong=(7, True, None), bad=("json",)
    ),
    "tool_mode": Row(
        ("native", "prompted", "auto", "native"), execution("tool_mode"), "auto", wrong=(7, True, None), bad=("tool",)
    ),
    "validation_retries": Row(
        (4, 3, 2, 0), execution("validation_retries"), 0, wrong=("5", 5.0, True, None), bad=(-1,)
    ),
    "emit_text_deltas": flag("emit_text_deltas", default=True),
    "emit_tool_deltas": flag("emit_tool_deltas", default=True),
    "include_raw_chunks": flag("include_raw_chunks", default=False),
    "on_event": callback("on_event"),
    "request_timeout": seconds("request_timeout", None),
    "first_event_timeout": seconds("first_event_timeout", 300.0),
    "stream_timeout": seconds("stream_timeout", 300.0),
    "retry": Row(
        (policy(1), policy(2), policy(3), None),
        execution("retry"),
        RetryPolicy(),
        wrong=(3, "never", RetryPolicy),
    ),
}
# Options whose layers are put together instead of replaced; they have tests of their own.
UNITED = {"tools": (7, None, "noop", {"a": 1}, 5.0), "options": (7, None, "a", [("a", 1)]), "context": (7, None, "a")}
UNITED["headers"] = (7, None, "a", [("a", "b")])
ENGINE_FIELDS = ("model", "retry", "on_tool_error")


def test_every_option_has_a_row():
    """A new option fails here until it has a row with values for every layer."""
    assert ROWS.keys() | UNITED.keys() == allm.CallOptions.__annotations__.keys()
    for name, row in ROWS.items():
        assert len(set(map(repr, row.values))) > 1, name


def test_every_option_has_a_rule_and_a_place():
    """The table, the `TypedDict` and the target fields name the same options."""
    assert OPTIONS.keys() == allm.CallOptions.__annotations__.keys()
    holders = {"request": allm.Request, "adapter": AdapterOptions, "execution": ExecutionOptions}
    for name, option in OPTIONS.items():
        for place in option.places:
            assert name in attrs.fields_dict(holders[place]), (name, place)
    steered = set(attrs.fields_dict(ExecutionOptions))
    assert steered == {name for name, option in OPTIONS.items() if "execution" in option.places}


def test_every_value_out_of_range_is_told_at_once():
    """One error has a sentence for each value out of range."""
    with pytest.raises(allm.ValidationError) as caught:
        resolve(model_engine(), "go", {"max_turns": 0, "mode": "off", "validation_retries": -1, "tool_timeout": -2.5})
    assert caught.value.errors == (
        (("max_turns",), "must_be_positive"),
        (("mode",), "unknown"),
        (("validation_retries",), "must_not_be_negative"),
        (("tool_timeout",), "must_be_positive"),
    )
    assert str(caught.value) == (
        "max_turns is 0; expected a number greater than 0; mode is 'off'; expected 'auto' or 'manual'; "
        "validation_retries is -1; expected 0 or more; tool_timeout is -2.5; expected a number greater than 0"
    )


@pytest.fixture(autouse=True)
def _no_defaults():
    yield
    allm.set_defaults()


def resolved(name, values, *, engine_field=False):
    """The resolved call, with the option given in some layers."""
    allm.set_defaults(**({name: values["application"]} if "application" in values else {}))
    engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text("x")]))
    if "engine" in values:
        given = {name: values["engine"]}
        engine = attrs.evolve(engine, **given) if engine_field else engine.with_params(given)
    request = allm.request("go", **({name: values["request"]} if "request" in values else {}))
    if name == "structured_finalize":  # goes with a format only
        request = attrs.evolve(request, response_format=schema("f"))
    return resolve(engine, request, {name: values["call"]} if "call" in values else {})


@pytest.mark.parametrize(
    ("name", "engine_field"), [*((name, False) for name in ROWS), *((name, True) for name in ENGINE_FIELDS)]
)
def test_the_highest_layer_that_says_something_wins(name, engine_field):
    """Call, request, engine, application, library, for every set of layers."""
    row = ROWS[name]
    layers = [layer for layer in LAYERS if row.in_request or layer != "request"]
    values = dict(zip(LAYERS, row.values, strict=True))
    for count in range(len(layers) + 1):
        for given in itertools.combinations(layers, count):
            expected = values[given[-1]] if given else row.default
            if name == "api_key" and isinstance(expected, Secret):
                expected = expected.reveal()
            call = resolved(name, {layer: values[layer] for layer in given}, engine_field=engine_field)
            assert row.read(call) == expected, given


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.in_request and row.default is None])
def test_none_says_nothing_where_a_request_would_say_nothing_with_it(name):
    """`temperature=None` leaves the value to the next layer."""
    row = ROWS[name]
    values = dict(zip(LAYERS, row.values, strict=True))
    nothing = dict.fromkeys(LAYERS[1:])
    assert row.read(resolved(name, {**nothing, "application": values["application"]})) == values["application"]
    assert row.read(resolved(name, {"call": None, "engine": values["engine"]})) == values["engine"]


def test_none_is_a_value_elsewhere():
    """For a limit, the retries or a function, None replaces the value of a lower layer."""
    for name in ("request_timeout", "stream_timeout", "tool_timeout", "retry", "halt_when", "max_concurrency"):
        call = resolved(name, {"application": ROWS[name].values[0], "call": None})
        assert ROWS[name].read(call) is None


def test_the_retry_policy_of_a_new_engine_says_nothing():
    """It is the library's default; a policy that was given counts."""
    with allm.defaults(retry=None):
        assert resolve(allm.Engine(), "go", {}).execution_options.retry is None
        assert resolve(allm.Engine(retry=RetryPolicy()), "go", {}).execution_options.retry == RetryPolicy()
        assert resolve(allm.Engine().with_model("m"), "go", {}).execution_options.retry is None


# --- what is put together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["options", "context"])
def test_mappings_are_united_key_by_key(name):
    """Mappings are merged by key, and a higher layer wins."""
    layers = {layer: {layer: 1, "all": layer} for layer in LAYERS}
    allm.set_defaults(**{name: layers["application"]})
    engine = allm.Engine()
    inner = {"all": "field", "field": 1}
    engine = engine.with_context(inner) if name == "context" else engine.with_params(inner)
    engine = engine.with_params({name: layers["engine"]})
    request = allm.request("go", **({name: layers["request"]} if name == "options" else {}))
    call = resolve(engine, request, {name: layers["call"]})
    united = call.request.options if name == "options" else call.execution_options.context
    expected = {layer: 1 for layer in LAYERS if layer != "request" or name == "options"}
    assert united == {"field": 1, "all": "call", **expected}
    without = resolve(engine, allm.request("go"), {})
    united = without.request.options if name == "options" else without.execution_options.context
    assert united["all"] == "engine"


def test_tools_are_united_by_name():
    """A tool replaces an earlier one of the same name, in its place."""

    def tool(name, layer):
        return Tool(name, layer)

    engine = allm.Engine(tools=[tool("x", "engine"), tool("e", "engine")]).with_params(tools=[tool("p", "params")])
    request = allm.request("go", tools=[tool("r", "request"), tool("e", "request")])
    with allm.defaults(tools=(tool(name, "application") for name in "ax")):
        for _ in range(2):  # an iterator is not used up by the first call
            call = resolve(engine, request, {"tools": iter([tool("r", "call"), tool("c", "call")])})
            assert [(found.name, found.description) for found in call.request.tools] == [
                ("a", "application"),
                ("x", "engine"),
                ("e", "request"),
                ("p", "params"),
                ("r", "call"),
                ("c", "call"),
            ]


# --- application defaults --------------------------------------------------------------------------------------------


async def test_defaults_are_those_of_the_context():
    """`defaults` applies to its block and the tasks started in it, and nests."""
    allm.set_defaults(model="process", temperature=0.5)

    def seen():
        request = resolve(allm.Engine(), "go", {}).request
        return request.model, request.temperature, request.max_tokens

    async def elsewhere(found):
        with allm.defaults(model="other task"):
            await trio.lowlevel.checkpoint()
            found.append(seen())

    found = []
    with allm.defaults(model="outer", max_tokens=1):
        with allm.defaults(model="inner"):
            assert seen() == ("inner", 0.5, 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(elsewhere, found)
                await trio.lowlevel.checkpoint()
                assert seen() == ("inner", 0.5, 1)
        assert seen() == ("outer", 0.5, 1)
    assert found == [("other task", 0.5, 1)]
    assert seen() == ("process", 0.5, None)
    allm.set_defaults(temperature=1)
    assert seen() == (None, 1, None)


def test_a_block_that_fails_leaves_no_defaults():
    """The defaults end with the block, also after an exception."""
    with pytest.raises(LookupError), allm.defaults(model="x"):
        raise LookupError
    assert resolve(allm.Engine(), "go", {}).request.model is None


def test_defaults_that_cannot_be_change_nothing():
    """After invalid defaults the earlier ones stay."""
    allm.set_defaults(model="x")
    with pytest.raises(allm.OptionError):
        allm.set_defaults(model="y", temprature=1)
    with pytest.raises(allm.OptionError), allm.defaults(max_turns="3"):
        pytest.fail("the block was entered")
    assert resolve(allm.Engine(), "go", {}).request.model == "x"


# --- mistakes --------------------------------------------------------------------------------------------------------


def model_engine():
    return allm.Engine(adapter=allm.providers.Fake(script=[fake.text("x")]))


def mistakes():
    for name, row in ROWS.items():
        for value in row.wrong:
            yield pytest.param(name, value, allm.OptionError, id=f"{name}={value!r:.20}")
        for value in row.bad:
            yield pytest.param(name, value, allm.ValidationError, id=f"{name}={value!r:.20}")
    for name, values in UNITED.items():
        for value in values:
            yield pytest.param(name, value, allm.OptionError, id=f"{name}={value!r:.20}")


@pytest.mark.parametrize(("name", "value", "kind"), list(mistakes()))
async def test_what_an_option_cannot_be_is_said_before_anything_is_sent(name, value, kind):
    """In the call, in params and in defaults, naming the option."""
    engine = model_engine()
    with pytest.raises(kind) as caught:
        await allm.chat(engine, "go", **{name: value})
    assert name in str(caught.value)
    assert len(str(caught.value)) < 300
    if kind is allm.OptionError:
        assert (caught.value.reason, caught.value.option) == ("invalid_type", name)
        assert isinstance(caught.value, TypeError)
        assert "expected" in str(caught.value)
        with pytest.raises(allm.OptionError):
            allm.set_defaults(**{name: value})
    else:
        assert name in [path[0] for path, _ in caught.value.errors]
    if not (value is None and name == "tools"):
        with pytest.raises(kind):
            await allm.generate(engine.with_params({name: value}), "go")
    assert engine.adapter.requests == []


@pytest.mark.parametrize("name", ROWS)
async def test_every_value_of_a_row_is_taken(name):
    """The valid values are accepted, so a rejection is due to the value."""
    for value in ROWS[name].values:
        options = {"response_format": schema("f")} if name == "structured_finalize" else {}
        with allm.defaults(**{name: value}):
            pass
        resolve(model_engine(), "go", {**options, name: value})


MISSPELT = {
    "temprature": "temperature",
    "max_token": "max_tokens",
    "tool": "tools",
    "maxturns": "max_turns",
    "streaming_timeout": "stream_timeout",
}


@pytest.mark.parametrize(("name", "near"), MISSPELT.items())
async def test_an_unknown_option_suggests_the_nearest_one(name, near):
    """The error also says where provider parameters go."""
    engine = model_engine()
    for call in (allm.generate, allm.step, allm.chat):
        with pytest.raises(allm.OptionError, match=f"unknown option '{name}'; did you mean '{near}'\\?") as caught:
            await call(engine, "go", **{name: 1})
        assert (caught.value.reason, caught.value.option) == ("unknown_option", name)
        assert "options={...}" in str(caught.value)
    assert engine.adapter.requests == []


async def test_how_many_at_once_is_said_elsewhere():
    """It is no option of a call; `max_concurrency`, which is like it, is that of the tools of a turn."""
    told = r"unknown option 'concurrency'; use limit= of allm\.bulk"
    with pytest.raises(allm.OptionError, match=told):
        await allm.generate(model_engine(), "go", concurrency=3)
    with pytest.raises(allm.OptionError, match=told):
        async with allm.bulk(model_engine(), ["go"], concurrency=3):
            pass


def test_an_option_like_no_other_lists_them_all():
    """Without a near match the error lists the known options."""
    with pytest.raises(allm.OptionError, match=r"expected one of: api_key, .*verbosity\. Provider") as caught:
        resolve(model_engine(), "go", {"zzz": 1})
    assert all(name in str(caught.value) for name in allm.CallOptions.__annotations__)


async def test_a_block_of_tools_that_is_not_opened_is_no_tool():
    """The error says to open it, and what to pass."""
    with pytest.raises(allm.ValidationError, match=r"async with \.\.\. as toolset:`, and pass tools=\[toolset\]"):
        await allm.chat(
            allm.Engine(adapter=allm.providers.Fake(script=[])), "Hi", tools=[allm.mcp.connect(["a-server"])]
        )


@pytest.mark.parametrize("tools", [["noop"], [None], [print]])
async def test_tools_that_are_none(tools):
    """Anything but a Tool is rejected, with its position, wherever tools are given."""
    engine = model_engine()
    with pytest.raises(allm.ValidationError, match=r"tools\[0\] is .*expected Tool") as caught:
        await allm.chat(engine, "go", tools=tools)
    assert caught.value.errors == ((("tools", 0), "invalid_type"),)
    with pytest.raises(allm.ValidationError, match=r"tools\[0\]"):
        await allm.chat(engine, allm.request("go", tools=tools))
    with pytest.raises(allm.EngineError, match="expected Tool"):
        allm.Engine(tools=tools)
    with pytest.raises(allm.ValidationError, match="tools is int"):
        await allm.chat(engine, allm.request("go", tools=7))
    assert engine.adapter.requests == []


def test_a_key_of_the_wrong_type_is_not_shown():
    """The error does not contain the value."""
    with pytest.raises(allm.OptionError) as caught:
        resolve(model_engine(), "go", {"api_key": ["sk-canary"]})
    assert "canary" not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize(
    "given",
    [7, None, b"go", {"role": "user"}, ["go"], [allm.user("x"), None], [], "", [allm.system(""), allm.user("")], ...],
)
async def test_what_is_no_conversation(given):
    """Anything that is not a conversation is a ValidationError."""
    engine = model_engine()
    with pytest.raises(allm.ValidationError):
        await allm.generate(engine, given)
    assert engine.adapter.requests == []


def test_what_is_no_engine():
    """A forgotten engine is a clear error."""
    with pytest.raises(allm.EngineError, match="first argument is str") as caught:
        engine_for_chat("go")
    assert caught.value.reason == "invalid_engine"


async def test_options_of_the_chat_loop_do_nothing_on_a_single_call(caplog):
    """Each is logged in one line."""
    caplog.set_level(logging.DEBUG, "allm")
    response = await allm.generate(model_engine(), "go", max_turns=3, mode="manual", halt_when=stop, temperature=0)
    assert response.output_text == "x"
    said = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert [name for name in ("mode", "max_turns", "halt_when") if any(f" {name} " in line for line in said)] == [
        "mode",
        "max_turns",
        "halt_when",
    ]
    assert len(said) == 3


# --- calls that answer in one piece ----------------------------------------------------------------------------------


class Unary:
    provider = "fake"

    def prepare(self, request, options):
        raise NotImplementedError

    async def send(self, prepared):
        raise NotImplementedError

    def open(self, prepared):
        raise NotImplementedError


READ_UNARY = {
    "model": lambda call: call.model,
    "options": lambda call: call.body,
    "api_key": lambda call: call.adapter_options.api_key and call.adapter_options.api_key.reveal(),
    "headers": lambda call: call.adapter_options.headers,
    "base_url": lambda call: call.adapter_options.base_url,
    "request_id": lambda call: call.adapter_options.request_id,
    "request_timeout": lambda call: call.execution_options.request_timeout,
    "first_event_timeout": lambda call: call.execution_options.first_event_timeout,
    "retry": lambda call: call.execution_options.retry,
}


def test_every_unary_option_is_read():
    """A new unary option fails here until it has an expectation."""
    assert READ_UNARY.keys() == UnaryOptions.__annotations__.keys()


@pytest.mark.parametrize("name", [name for name in READ_UNARY if name in ROWS and name != "model"])
def test_calls_in_one_piece_have_the_same_precedence(name):
    """Call, engine, application, library."""
    row, read = ROWS[name], READ_UNARY[name]
    values = {layer: value for layer, value in zip(LAYERS, row.values, strict=True) if layer != "request"}
    for count in range(len(values) + 1):
        for given in itertools.combinations(values, count):
            allm.set_defaults(**({name: values["application"]} if "application" in given else {}))
            engine = allm.Engine(embedding_adapter=Unary(), embedding_model="m")
            engine = engine.with_params({name: values["engine"]}) if "engine" in given else engine
            call = resolve_unary(EMBEDDINGS, engine, {name: values["call"]} if "call" in given else {})
            expected = values[given[-1]] if given else row.default
            assert read(call) == (expected.reveal() if isinstance(expected, Secret) else expected), given


SERVICES = {
    IMAGES: allm.ImageRequest("a fox"),
    EMBEDDINGS: allm.EmbeddingRequest("a fox"),
    MODERATION: allm.ModerationRequest("a fox"),
    SPEECH: allm.SpeechRequest("a fox"),
    TRANSCRIPTION: allm.TranscriptionRequest(allm.Audio(b"x")),
}
every_service = pytest.mark.parametrize("service", [pytest.param(service, id=service.name) for service in SERVICES])


def engine_of(service, **params):
    return attrs.evolve(allm.Engine(params=params), **{f"{service.name}_adapter": Unary()})


@every_service
def test_the_options_of_every_layer_reach_services_as_they_reach_chats(service):
    """`options` are merged by key, the highest layer wins."""
    for count in range(len(LAYERS) + 1):
        for layers in itertools.combinations(LAYERS, count):
            given = {layer: {"options": {layer: 1, "all": layer}} if layer in layers else {} for layer in LAYERS}
            engine = engine_of(service, **given["engine"])
            with allm.defaults(**given["application"]):
                chat = resolve(engine, allm.request("go", **given["request"]), given["call"]).request
                call = resolve_unary(service, engine, {"model": "m", **given["call"]})
            request = call.request_for(attrs.evolve(SERVICES[service], **given["request"]))
            expected = {**dict.fromkeys(layers, 1), "all": layers[-1]} if layers else {}
            assert request.options == chat.options == expected, layers


@every_service
def test_what_only_chats_know_is_not_for_services(service):
    """The chat model and body fields in params do not reach services."""
    engine = attrs.evolve(engine_of(service, top_k=1, model="params"), model="chat")
    with allm.defaults(model="app", temperature=0.5):
        call = resolve_unary(service, engine, {})
    request = call.request_for(attrs.evolve(SERVICES[service], model="m"))
    assert (request.model, request.options) == ("m", {})
    with pytest.raises(allm.EngineError, match=f"no model for {service.noun} is given.*{service.name}_model") as caught:
        call.request_for(SERVICES[service])
    assert caught.value.reason == "missing_model"


@every_service
@pytest.mark.parametrize("layer", ["call", "request", "engine"])
def test_an_empty_model_is_the_same_mistake_everywhere(service, layer):
    """An empty model is rejected and does not fall back to the next layer."""
    with pytest.raises(allm.ValidationError) as of_chat:
        resolve(allm.Engine(), "go", {"model": ""})
    engine = attrs.evolve(engine_of(service), **{f"{service.name}_model": "" if layer == "engine" else "m"})
    request = attrs.evolve(SERVICES[service], **({"model": ""} if layer == "request" else {}))
    with pytest.raises(allm.ValidationError, match="model") as caught:
        resolve_unary(service, engine, {"model": ""} if layer == "call" else {}).request_for(request)
    assert (caught.value.reason, caught.value.errors) == (of_chat.value.reason, of_chat.value.errors)


@every_service
def test_an_adapter_of_something_else_is_not_asked(service):
    """The error says which methods the adapter needs."""
    engine = attrs.evolve(engine_of(service), **{f"{service.name}_adapter": allm.providers.Fake(script=[])})
    with pytest.raises(
        allm.EngineError, match=rf"{service.name}_adapter is Fake.*{service.method}\(prepared\)"
    ) as caught:
        resolve_unary(service, engine, {})
    assert caught.value.reason == "missing_adapter"
