"""`classify`: what is asked, what comes back, and when probabilities are asked for."""

from __future__ import annotations

import copy
import enum
import json
import logging
import math
import pickle
from typing import Literal

import attrs
import pytest

import allm
from allm import Question, fake
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.runtime.fitting import forget_advice
from allm.testing import Reply, WireServer


class Mood(enum.Enum):
    """An enum whose members are choices."""

    GOOD = "good"
    BAD = "bad"


async def classified(answer, questions, request="Hi", **options):
    """The result, and the request that was made."""
    adapter = Fake(script=[fake.text(json.dumps(answer)), fake.usage(input_tokens=3, output_tokens=2)])
    result = await allm.classify(allm.Engine(adapter=adapter), request, questions, **options)
    return result, adapter.requests[0]


class Level(enum.IntEnum):
    """Ints that are members."""

    LOW = 1
    HIGH = 2


class Label(str):
    """Texts of a class of their own."""

    __slots__ = ()


KINDS = {
    "members that are ints": (Level, 2, Level.HIGH, {"type": "integer", "enum": [1, 2]}),
    "members that are texts": (
        enum.StrEnum("Tone", {"CALM": "calm"}),
        "calm",
        "calm",
        {"type": "string", "enum": ["calm"]},
    ),
    "a class of texts": ([Label("a"), "b"], "a", "a", {"type": "string", "enum": ["a", "b"]}),
    "texts": (["yes", "no"], "no", "no", {"type": "string", "enum": ["yes", "no"]}),
    "a generator": ((text for text in ("yes", "no")), "no", "no", {"type": "string", "enum": ["yes", "no"]}),
    "a score": (range(1, 4), 2, 2, {"type": "integer", "enum": [1, 2, 3]}),
    "an enum": (Mood, "bad", Mood.BAD, {"type": "string", "enum": ["good", "bad"]}),
    "members": ([Mood.BAD], "bad", Mood.BAD, {"type": "string", "enum": ["bad"]}),
    "bool": (bool, True, True, {"type": "boolean"}),
    "a Literal": (Literal["a", 1] | None, None, None, {"enum": ["a", 1, None]}),
    "meanings": ({"a": "first", "b": ""}, "b", "b", {"type": "string", "enum": ["a", "b"]}),
    "a question": (
        Question(["a", "b"], "Which?"),
        "b",
        "b",
        {"type": "string", "enum": ["a", "b"], "description": "Which?"},
    ),
    "several": (
        Question([Mood.BAD, "x", 7], several=True),
        {"bad": True, "x": False, "7": True},
        (Mood.BAD, 7),
        {
            "type": "object",
            "properties": {"bad": {"type": "boolean"}, "x": {"type": "boolean"}, "7": {"type": "boolean"}},
            "required": ["bad", "x", "7"],
            "additionalProperties": False,
        },
    ),
}


@pytest.mark.parametrize(("choices", "answer", "expected", "schema"), KINDS.values(), ids=KINDS)
async def test_every_kind_of_choices(choices, answer, expected, schema):
    """The schema is closed, and the answer is the choice itself."""
    result, request = await classified({"q": answer}, {"q": choices})
    assert request.response_format.schema == {
        "type": "object",
        "properties": {"q": schema},
        "required": ["q"],
        "additionalProperties": False,
    }
    assert (dict(result), result["q"], len(result)) == ({"q": expected}, expected, 1)
    assert result.probabilities == {"q": None}  # the fake has none
    assert result.usage == allm.Usage(input_tokens=3, output_tokens=2)
    assert json.loads(result.response.output_text) == {"q": answer}


async def test_what_the_model_is_told():
    """The questions, their choices and what these mean, before the messages; a server may not show it the schema."""
    questions = {
        "urgent": Question(["yes", "no"], "Does it need an answer today?"),
        "score": range(3),
        "topics": Question({"bug": "something is broken", "wish": ""}, several=True),
    }
    answer = {"urgent": "no", "score": 0, "topics": {"bug": False, "wish": False}}
    result, request = await classified(answer, questions, [allm.system("Mails of a bank."), allm.user("Hi")])
    assert [message.role for message in request.messages] == ["system", "system", "user"]
    assert request.messages[0].text.splitlines()[1:] == [
        '- "urgent": Does it need an answer today? One of: "yes", "no"',
        '- "score": One of: 0, 1, 2',
        '- "topics": For each of these true if it applies, else false: "bug" (something is broken), "wish"',
    ]
    assert result["topics"] == ()


async def test_names_that_are_no_keys_everywhere():
    """They are numbered, and what they stand for is told; no two are the same."""
    questions = {
        "Is it urgent?": Question(bool, "Today, that is."),
        "question_1": ["a"],
        "q": Question(["1", 1, "bug report", "choice_3", "x" * 65], several=True),
    }
    labels = {"1": True, "choice_2": True, "_choice_3": True, "choice_3": False, "choice_5": True}
    answer = {"_question_1": True, "question_1": "a", "q": labels}
    result, request = await classified(answer, questions)
    assert dict(result) == {"Is it urgent?": True, "question_1": "a", "q": ("1", 1, "bug report", "x" * 65)}
    properties = request.response_format.schema["properties"]
    assert properties["_question_1"]["description"] == "Is it urgent?: Today, that is."
    assert properties["q"]["properties"]["_choice_3"]["description"] == "bug report"
    told = request.messages[0].text
    assert '- "_question_1": Is it urgent?: Today, that is. One of: true, false' in told
    assert '"choice_2" (1), "_choice_3" (bug report), "choice_3", ' in told


async def test_a_request_and_an_engine_with_tools():
    """The request's own fields are kept; tools are not offered, since a call of one is no answer."""
    tool = allm.Tool("clock", "Tells the time.", {"type": "object", "properties": {}})
    adapter = Fake(script=[fake.text('{"q": "a"}')])
    engine = allm.Engine(adapter=adapter, tools=[tool], params={"tool_choice": "required"})
    request = allm.request("Hi", tools=[tool], temperature=0, metadata={"id": 7})
    await allm.classify(engine, request, {"q": ["a", "b"]}, max_tokens=50)
    [asked] = adapter.requests
    assert (asked.tools, asked.temperature, asked.max_tokens, asked.metadata) == ((), 0, 50, {"id": 7})


WRONG = {
    "no question": ({}, "questions: there is no question"),
    "no mapping": (["a"], "questions is list; expected a mapping such as"),
    "no name": ({"": ["a"]}, "has the name ''; expected a text"),
    "a name that is no text": ({7: ["a"]}, "has the name 7; expected a text"),
    "no choice": ({"q": []}, "questions.q.choices: there is nothing to choose from"),
    "an empty enum": ({"q": enum.Enum("Empty", ())}, "there is nothing to choose from"),
    "a text": ({"q": "yes"}, "questions.q.choices is 'yes'; expected choices such as"),
    "a union with one": ({"q": int | None}, "questions.q.choices is Union(Type)?; expected choices such as"),
    "an open type": ({"q": int}, "questions.q.choices is int; expected choices such as"),
    "no choices": ({"q": 7}, "questions.q.choices is int; expected choices such as"),
    "equal ones": ({"q": [1, True]}, "two choices are equal: True"),
    "a float": ({"q": [0.5]}, r"questions.q.choices\[0\] is float; expected a text, an int"),
    "a list": ({"q": [["a"]]}, r"questions.q.choices\[0\] is list"),
    "a member with a float": ({"q": enum.Enum("Size", {"BIG": 0.5})}, r"questions.q.choices\[0\] is float"),
    "an int that JSON readers do not take": ({"q": [2**70]}, r"questions.q.choices\[0\] is 1180591620717411303424; "),
    "half a character": ({"q": ["\ud800"]}, r"questions.q.choices\[0\] is '.ud800'; expected"),
    "a meaning that is no text": ({"q": {"a": 7}}, "'a' stands for int; expected what it means"),
}


@pytest.mark.parametrize(("questions", "sentence"), WRONG.values(), ids=WRONG)
async def test_questions_that_cannot_be_asked(questions, sentence):
    """Nothing is sent."""
    adapter = Fake()
    with pytest.raises(allm.ValidationError, match=sentence) as caught:
        await allm.classify(allm.Engine(adapter=adapter), "Hi", questions)
    assert caught.value.reason == "invalid_question"
    assert adapter.requests == []


def test_a_question_that_cannot_be_made():
    """It is refused where it is made, with all problems."""
    with pytest.raises(allm.ValidationError) as caught:
        Question([1.5, b"x"], 7)
    assert [path for path, _ in caught.value.errors] == [("choices", 0), ("choices", 1), ("text",)]


@pytest.mark.parametrize("name", ["response_format", "tools", "tool_choice", "structured_finalize"])
async def test_options_that_the_questions_stand_for(name):
    """Refused, and the sentence says so."""
    engine = allm.Engine(adapter=Fake())
    with pytest.raises(allm.ValidationError, match=f"{name} is made from the questions"):
        await allm.classify(engine, "Hi", {"q": ["a"]}, **{name: None})


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ('{"q": "maybe"}', "q: expected one of 'yes', 'no', got 'maybe'"),
        ('{"q": true}', "q: expected one of 'yes', 'no', got true"),
        ("{}", "required field 'q' is missing"),
        ('{"q": "yes", "why": ""}', "unknown field 'why'"),
        ("yes", "the response is not JSON for set of answers"),
    ],
)
async def test_an_answer_that_is_no_choice(answer, sentence):
    """An error that names the question, since not every server holds a model to the schema."""
    engine = allm.Engine(adapter=Fake(script=[fake.text(answer)]))
    with pytest.raises(allm.ValidationError, match=sentence) as caught:
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
    assert caught.value.reason == "invalid_output"


async def test_a_model_that_is_asked_again():
    """As often as `validation_retries` says, with what is wrong."""
    adapter = Fake(scripts=[[fake.text('{"q": "maybe"}')], [fake.text('{"q": "no"}')]])
    result = await allm.classify(allm.Engine(adapter=adapter), "Hi", {"q": ["yes", "no"]}, validation_retries=1)
    assert result["q"] == "no"
    assert "expected one of 'yes', 'no', got 'maybe'" in adapter.requests[1].messages[-1].text


async def test_a_call_that_fails_or_is_cut_off():
    """Its own error, and that of an end before the end."""
    error = allm.AdapterError("busy", reason="overloaded", provider="fake")
    engine = allm.Engine(adapter=Fake(script=[fake.error(error)]), retry=None)
    with pytest.raises(allm.AdapterError, match="busy"):
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
    engine = allm.Engine(adapter=Fake(script=[fake.text('{"q'), fake.finish("length")]))
    with pytest.raises(allm.UnwrapError, match="length"):
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]})


async def test_questions_and_results_are_values():
    """Equal, copied, pickled and changed like the library's other values."""
    question = Question({"a": "first", "b": ""}, "Which?", several=True)
    assert question == Question({"a": "first", "b": ""}, "Which?", several=True) != Question(["a", "b"])
    assert copy.deepcopy(question) == pickle.loads(pickle.dumps(question)) == question  # noqa: S301  our own
    assert attrs.evolve(question, text="Who?") == Question({"a": "first", "b": ""}, "Who?", several=True)
    assert hash(question) == hash(copy.copy(question))
    result, _ = await classified({"q": "a"}, {"q": ["a", "b"]})
    assert copy.deepcopy(result) == pickle.loads(pickle.dumps(result)) == result  # noqa: S301  our own
    assert hash(result)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.answers = {}


# --- probabilities ----------------------------------------------------------------------------------------------------

TOKENS = [('{"q": "', 1.0, []), ("yes", 0.6, [("yes", 0.6), ("no", 0.2)]), ('"}', 1.0, [])]
TEXT = "".join(text for text, _, _ in TOKENS)


def of_openai(text, probability, others=()):
    fields = {"token": text, "logprob": math.log(probability), "bytes": list(text.encode())}
    return fields | {"top_logprobs": [of_openai(*other) for other in others]}


def chat():
    content = [of_openai(*each) for each in TOKENS]
    choice = {"message": {"content": TEXT}, "finish_reason": "stop", "logprobs": {"content": content}}
    return {"id": "x", "choices": [choice]}


def responses():
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": [of_openai(*each) for each in TOKENS]}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": "x", "object": "response", "status": "completed", "output": [item]}


def gemini():
    def of_gemini(text, probability, _others=()):
        return {"token": text, "logProbability": math.log(probability)}

    result = {
        "chosenCandidates": [of_gemini(*each) for each in TOKENS],
        "topCandidates": [{"candidates": [of_gemini(*each) for each in others]} for _, _, others in TOKENS],
    }
    content = {"role": "model", "parts": [{"text": TEXT}]}
    return {"candidates": [{"content": content, "finishReason": "STOP", "logprobsResult": result}]}


def adapter_for(kind, server):
    if kind == "gemini":
        return Gemini(api_key="k", base_url=server.url("gemini"))
    if kind == "anthropic":
        return Anthropic(api_key="k", base_url=server.url("anthropic"))
    return OpenAI(api_key="k", base_url=server.url("openai"), endpoint=kind)


ANSWERS = {"chat_completions": chat, "responses": responses, "gemini": gemini}
ASKED = {
    "chat_completions": lambda body: (body.get("logprobs"), body.get("top_logprobs")),
    "responses": lambda body: (
        "message.output_text.logprobs" in body.get("include", ()) or None,
        body.get("top_logprobs"),
    ),
    "gemini": lambda body: tuple(body["generationConfig"].get(name) for name in ("responseLogprobs", "logprobs")),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_probabilities(kind):
    """Asked for where the provider has them, unless they are not wanted."""
    async with WireServer() as server:
        server.default = Reply.json(ANSWERS[kind]())
        engine = allm.Engine(adapter=adapter_for(kind, server), model="m")
        result = await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, probabilities=False)
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, logprobs=3)
    assert result["q"] == "yes"
    assert result.probabilities == {"q": {"yes": pytest.approx(0.75), "no": pytest.approx(0.25)}}
    asked = [ASKED[kind](request.json()) for request in server.requests]
    assert asked == [(True, 20), (None, None), (True, 3)]


async def test_probabilities_of_several():
    """Each is that of the choice to apply."""
    pieces = [('{"q": {"a": ', 1.0), ("true", 0.8), (', "b": ', 1.0), ("false", 0.7), ("}}", 1.0)]
    other = {"true": "false", "false": "true"}
    content = [of_openai(text, p, [(other[text], 1 - p)] if text in other else []) for text, p in pieces]
    text = "".join(text for text, _ in pieces)
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": content}}
    async with WireServer() as server:
        server.default = Reply.json({"id": "x", "choices": [choice]})
        engine = allm.Engine(adapter=adapter_for("chat_completions", server), model="m")
        result = await allm.classify(engine, "Hi", {"q": Question(["a", "b"], several=True)})
        content[3] = of_openai("false", 0.7)
        server.default = Reply.json({"id": "x", "choices": [choice]})
        unknown = await allm.classify(engine, "Hi", {"q": Question(["a", "b"], several=True)})
    assert result["q"] == unknown["q"] == ("a",)
    assert result.probabilities == {"q": {"a": pytest.approx(0.8), "b": pytest.approx(0.3)}}
    assert unknown.probabilities == {"q": None}


async def test_a_provider_that_refuses_them(caplog):
    """The call is made again without, and a warning says how to save the first one; who insists gets the refusal."""
    refused = Reply.json({"error": {"message": "logprobs is not supported", "code": 400}}, status=400)
    async with WireServer() as server:
        server.default = refused
        without = {"id": "x", "choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}
        server.add(refused, Reply.json(without))
        engine = allm.Engine(adapter=adapter_for("chat_completions", server), model="m")
        with caplog.at_level(logging.WARNING, "allm"):
            result = await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
        assert (result["q"], result.probabilities) == ("yes", {"q": None})
        assert [ASKED["chat_completions"](request.json()) for request in server.requests] == [(True, 20), (None, None)]
        assert [record.message.partition(";")[2] for record in caplog.records] == [" pass probabilities=False"]
        caplog.clear()
        forget_advice()
        with caplog.at_level(logging.WARNING, "allm"), pytest.raises(allm.AdapterError, match="not supported"):
            await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
        [record] = caplog.records  # of the last request; log probabilities were not what it was refused for
        assert record.message.startswith("generate failed: logprobs is not supported")
        caplog.clear()
        server.default = Reply.json({"error": {"message": "no such key"}}, status=401)
        with caplog.at_level(logging.WARNING, "allm"), pytest.raises(allm.AdapterError, match="no such key"):
            await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
        assert [record.message.partition(":")[0] for record in caplog.records] == ["generate failed"]
        server.default = refused
        for wanted in ({"probabilities": True}, {"logprobs": 2}):
            with pytest.raises(allm.AdapterError, match="not supported"):
                await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, **wanted)
        assert len(server.requests) == 7


async def test_a_model_that_is_known_to_refuse_them():
    """It is asked once, without; who insists is told before anything is sent."""
    async with WireServer() as server:
        server.default = Reply.json(responses())
        engine = allm.Engine(adapter=adapter_for("responses", server), model="gpt-5.5")
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]})
        with pytest.raises(allm.ValidationError, match="takes no logprobs while it thinks"):
            await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, probabilities=True)
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, reasoning_effort="none")
    assert [ASKED["responses"](request.json())[1] for request in server.requests] == [None, 20]


async def test_a_provider_without_them():
    """Is not asked for any; who insists is told before anything is sent. A wrong call is an error in any case."""
    engine = allm.Engine(adapter=Anthropic(api_key="k"), model="claude-opus-4-5")
    with pytest.raises(allm.ValidationError, match="Anthropic gives no log probabilities"):
        await allm.classify(engine, "Hi", {"q": ["yes", "no"]}, probabilities=True)
    adapter = Fake(scripts=[[fake.text('{"q": "yes"}')], [fake.text('{"q": "yes"}')]])
    for wanted in (None, True):
        await allm.classify(allm.Engine(adapter=adapter), "Hi", {"q": ["yes", "no"]}, probabilities=wanted)
    assert [request.logprobs for request in adapter.requests] == [None, 5]
    wrong = allm.Engine(adapter=OpenAI(api_key="k"), model="m")
    with pytest.raises(allm.ValidationError, match="temperature"):
        await allm.classify(wrong, "Hi", {"q": ["yes", "no"]}, temperature=7)
