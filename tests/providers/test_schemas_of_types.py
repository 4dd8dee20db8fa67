"""The schemas of the table in docs/types.md, as each vendor gets them, before the validators that the vendors ship.

What these check: the SDK of OpenAI rewrites a schema for strict mode, and Anthropic's for structured output, so one
that they leave as it is fits; Anthropic's also refuses what has no type. The types of Gemini take any schema, so the
rule of Google's documentation about references is checked here. jsonschema has the meta-schema of JSON Schema 2020-12,
and knows which values fit.
"""

from __future__ import annotations

import copy
import json
from decimal import Decimal

import pytest

import allm
from allm.data.answer_form import AnswerForm
from allm.data.json.text import loads
from allm.data.types.schema import schema_of
from allm.execution.options import engine_for_chat, prepare_call, resolve
from data.types.test_table import NAMES, ROWS, evaluated
from request_types import check_anthropic, check_gemini, check_openai_chat, check_openai_responses, vendor

globals().update(NAMES)  # a type of the table that names itself is found as in a module

ADAPTERS = {
    "openai_chat": (allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-5.4"),
    "openai_responses": (allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-5.4"),
    "anthropic": (allm.providers.Anthropic(api_key="k"), "claude-opus-4-6"),
    "gemini": (allm.providers.Gemini(api_key="k"), "gemini-3.1-pro"),
}
CHECKS = {
    "openai_chat": check_openai_chat,
    "openai_responses": check_openai_responses,
    "anthropic": lambda body: check_anthropic(body, "2023-06-01"),
    "gemini": check_gemini,
}
SCHEMAS = {"schema", "parameters", "input_schema", "responseJsonSchema", "parametersJsonSchema"}
FORM = "the answers to questions"
TYPES = pytest.mark.parametrize("text", [row[0] for row in ROWS])
WITH_QUESTIONS = pytest.mark.parametrize("text", [*(row[0] for row in ROWS), FORM])
PLACES = ("output", "argument")
AT_EACH_PLACE = pytest.mark.parametrize("place", PLACES)
WITH_EACH_VENDOR = pytest.mark.parametrize("wire", ADAPTERS)


QUESTIONS = {
    "urgent": allm.Question(["yes", "no"], "Today?"),
    "score": allm.Question(range(1, 6)),
    "Is it spam?": allm.Question(bool),
    "kind": allm.Question(["a", 1, None]),
    "topics": allm.Question({"bug": "something is broken", "a wish": ""}, several=True),
}


def hint_of(text):
    if text == FORM:
        return AnswerForm(QUESTIONS).output_type
    return type(None) if text == "None" else evaluated(text)  # as a format, None is none


def tool_of(hint):
    """A tool with one parameter of the type."""

    def look(value):
        """Look."""

    look.__annotations__ = {"value": hint}
    return allm.tool(look)


def body(wire, text, place):
    """The body of a request that asks for the type, or offers a tool that takes it."""
    adapter, model = ADAPTERS[wire]
    engine = engine_for_chat(allm.Engine(adapter=adapter, model=model))
    hint = hint_of(text)
    options = {"response_format": hint} if place == "output" else {"tools": [tool_of(hint)]}
    prepared = prepare_call(resolve(engine, "Hi", options))
    return loads(getattr(prepared, "prepared", prepared).body)  # an answer may be asked for as the call of a tool


def schemas(node):
    """Every schema in a body, and whether its vendor is to hold the model to it."""
    if isinstance(node, list):
        for item in node:
            yield from schemas(item)
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key in SCHEMAS:
                is_native = node.get("type") == "json_schema" or key == "responseJsonSchema"
                yield inner, node.get("strict", is_native)
            else:
                yield from schemas(inner)


def nodes(schema):
    """Every schema in a schema."""
    yield schema
    for key, value in schema.items():
        if key in {"properties", "$defs"}:
            for inner in value.values():
                yield from nodes(inner)
        elif key in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            for inner in value:
                yield from nodes(inner)
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            yield from nodes(value)


@WITH_EACH_VENDOR
def test_questions_are_asked_natively_everywhere(wire):
    """The schema of a classification is one that every vendor holds the model to, and it names all choices."""
    sent = body(wire, FORM, "output")
    CHECKS[wire](sent)
    [(schema, native)] = schemas(sent)
    assert native
    assert all(word in json.dumps(schema) for word in ("yes", "no", "5", "something is broken", "a wish"))


def exactly(text):
    """JSON with decimal numbers: 0.3 is a multiple of 0.1, as it is not in binary."""
    return json.loads(text, parse_float=lambda number: float(number) if float(number) % 1 == 0 else Decimal(number))


@TYPES
@AT_EACH_PLACE
@WITH_EACH_VENDOR
def test_a_body(wire, text, place):
    """It fits the types of the vendor's SDK, and its schema the meta-schema."""
    sent = body(wire, text, place)
    CHECKS[wire](sent)
    found = list(schemas(sent))
    assert found
    for schema, _ in found:
        vendor("jsonschema").Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("text", "place"), [*((row[0], at) for row in ROWS for at in PLACES), (FORM, "output")])
@pytest.mark.parametrize("wire", ["openai_chat", "openai_responses"])
def test_strict_mode_of_openai(wire, text, place):
    """What is sent as strict is what the SDK makes of a schema to be so."""
    convert = vendor("openai.lib._pydantic")._ensure_strict_json_schema
    for schema, strict in schemas(body(wire, text, place)):
        if strict:
            assert convert(copy.deepcopy(schema), path=(), root=copy.deepcopy(schema)) == schema


@WITH_QUESTIONS
def test_structured_output_of_anthropic(text):
    """What is sent as the format of an answer is what the SDK makes of a schema to be one."""
    convert = vendor("anthropic.lib._parse._transform").transform_schema
    for schema, native in schemas(body("anthropic", text, "output")):
        if native:
            assert plain(convert(copy.deepcopy(schema))) == plain(schema)


def plain(schema):
    """A schema without the type of an enumeration, which the SDK of one API version wants and that of another drops."""
    schema = copy.deepcopy(schema)
    for node in nodes(schema):
        if "enum" in node:
            node.pop("type", None)
    return schema


@WITH_QUESTIONS
def test_structured_output_of_gemini(text):
    """Beside a reference stands nothing but what begins with `$`."""
    for schema, native in schemas(body("gemini", text, "output")):
        assert native
        assert not [node for node in nodes(schema) if "$ref" in node and {key[0] for key in node} != {"$"}]


@pytest.mark.parametrize(("text", "good", "bad"), [(row[0], row[1], row[3]) for row in ROWS], ids=[r[0] for r in ROWS])
def test_the_values_of_the_table(text, good, bad):
    """A value that fits is valid, and one that does not is not, unless only a word of the schema's own tells it."""
    schema = schema_of(evaluated(text))
    validator = vendor("jsonschema").Draft202012Validator(exactly(json.dumps(schema)))
    assert validator.is_valid(exactly(good))
    told = {"format", "contentEncoding"} & {key for node in nodes(schema) for key in node}
    if bad is not None and not told:
        assert not validator.is_valid(exactly(bad))
