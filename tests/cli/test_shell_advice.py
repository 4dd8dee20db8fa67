"""Errors in a shell: what they tell to do can be done in a shell, and none has Python in it."""

from __future__ import annotations

import ast
import io
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

import allm
from allm.cli.shell_advice import describe
from allm.data.remedies import REMEDIES
from allm.testing import Reply

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SOURCE = Path(allm.__file__).parent
# An argument, a call, an attribute of the library, the name of a class or a call option, a constant. `NAME=...` in
# capitals is a variable of the shell.
PYTHON = re.compile(
    r"\b[a-z]\w*=(?!=)|\b[A-Za-z_]\w*\(|\ballm\.[a-z]|\bkeys\.[a-z]|\bEngine\b|\basync with\b|@allm|\bNone\b|\bTrue\b"
    r"|\b(api_key|base_url|reasoning_effort|reasoning_summary|response_format|output_mode|\w+_timeout|max_event_bytes)\b"
)
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def python_in(text):
    """The Python in a text, if any."""
    found = PYTHON.search(text)
    return found and found[0]


ERRORS = {
    "no key": (
        ["generate", "hi", "-m", "anthropic:claude-sonnet-4-6"],
        "export ANTHROPIC_API_KEY=... or allm keys set",
    ),
    "no key in a chat": (["chat", "-m", "anthropic:claude-sonnet-4-6", "-n"], "export ANTHROPIC_API_KEY=..."),
    "no key for pictures": (
        ["image", "hi", "-m", "gemini:x", "-o", "x.png"],
        "export GEMINI_API_KEY=... or export GOOGLE",
    ),
    "no key for vectors": (["embed", "hi", "-m", "voyage:x"], "export VOYAGE_API_KEY=..."),
    "no address": (["generate", "hi", "-m", "azure:x"], "--base-url URL or export AZURE_OPENAI_RESOURCE=..."),
    "no region": (["generate", "hi", "-m", "bedrock:x"], "us-east-1; --base-url URL or export AWS_REGION=..."),
    "no such address": (["generate", "hi", "-m", "openai:x", "--base-url", "nowhere"], "the base URL 'nowhere' is not"),
    "no provider": (["generate", "hi", "-m", "gpt-5-mini"], "did you mean 'openai:gpt-5-mini'?"),
    "another provider": (["generate", "hi", "-m", "antropic:claude-sonnet-4-6"], "did you mean 'anthropic:"),
    "the provider twice": (["generate", "hi", "-m", "openai:openai:gpt-5"], "expected 'gpt-5'"),
    "no service": (["embed", "hi", "-m", "anthropic:x"], "anthropic has no embedding models: expected"),
    "no default": (["models", "default", "nix:3"], "Invalid value for 'MODEL': unknown provider in 'nix:3'"),
    "only in tests": (["generate", "hi", "-m", "fake:x"], "answers in tests only"),
    "temperature": (
        ["generate", "hi", "-m", "openai:x", "--temperature", "9"],
        "temperature is 9.0; expected a number",
    ),
    "of one vendor": (["generate", "hi", "-m", "openai:o3", "--temperature", "0.5"], "leave out --temperature, or"),
    "no task": (["embed", "hi", "-m", "openai:text-embedding-3-small", "--task", "x"], "has no such task"),
    "no reasoning": (["generate", "hi", "-m", "openai:gpt-4o", "--reasoning", "low"], "leave out --reasoning, or"),
    "no vision": (["generate", "hi", "-m", "openai:gpt-3.5-turbo", "-a", PIXEL], "leave out -a, or use another model"),
    "not UTF-8": (["generate", "\udcff", "-m", "openai:x"], "PROMPT is not valid text"),
    "no instructions": (["generate", "hi", "-s", "\udcff", "-m", "openai:x"], "--system is not valid text"),
    "no file": (["generate", "hi", "-m", "openai:x", "-f", "nothing"], "cannot read nothing"),
    "no picture": (["generate", "hi", "-m", "openai:x", "-a", "nothing.png"], "cannot read nothing.png"),
    "no schema": (["generate", "hi", "-m", "openai:x", "--schema", "nothing.json"], "cannot read nothing.json"),
    "broken option": (["generate", "hi", "-m", "openai:x", "--option", "seed"], "'seed' is not NAME=VALUE"),
    "a store": (["chat", "-m", "openai:x", "--session", "mysql://x"], "no store has the scheme 'mysql'"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_of_a_command_has_no_python(allm_main, monkeypatch, tmp_path, caplog, name):
    """And says what helps; nor has a warning, which a shell shows too."""
    for variable in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "VOYAGE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi"))
    arguments, says = ERRORS[name]

    code, output, errors = await allm_main(*arguments)

    shown = " ".join(errors.split())
    assert (code, output) in {(1, ""), (2, "")}
    assert says in shown
    assert python_in(shown) is None
    assert [record.getMessage() for record in caplog.records if python_in(record.getMessage())] == []


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (401, "Bad key.", "check the key"),
        (404, "No such model.", "check the name of the model"),
        (429, "Slow down.", "wait and try again"),
        (400, "Unknown field max_tokens.", "change what the provider objects to: the prompt, an option, or --base-url"),
        (400, "maximum context length exceeded", "send less"),
        (503, "Down.", "use another model"),
    ],
)
async def test_an_error_of_a_server_has_no_python(server, to_server, allm_main, status, message, says):
    """The provider's words, the facts, and what helps in a shell; also of a server that is not known."""
    server.add(*[Reply.error("openai", status, message=message, headers={"retry-after": "0.01"})] * 5)

    code, _, errors = await allm_main("generate", "hi", *to_server)

    assert code == 1
    assert says in errors
    assert python_in(errors.replace("max_tokens", "")) is None


async def test_a_server_that_is_not_there_is_told_as_such(allm_main):
    """On this machine, the server may just not run."""
    code, _, errors = await allm_main("generate", "hi", "-m", "openai:x", "--base-url", "http://127.0.0.1:9/v1")

    assert code == 1
    assert "start the server at 127.0.0.1:9, or name another one with --base-url" in errors


@pytest.mark.parametrize("reason", get_args(allm.AdapterReason))
def test_each_reason_has_advice_for_a_shell(reason):
    """None of Python's, and some wherever the library has some."""
    said = describe(allm.AdapterError("it failed", reason=reason, host="example.com"))

    assert python_in(said) is None
    assert (";" in said) or reason not in REMEDIES


def test_advice_is_the_end_of_a_message():
    """`problem` is what comes before it, also in a copy; it adds up, and an error without it is all problem."""
    error = allm.EngineError("no key", reason="missing_key").advised(": pass api_key=").advised(", or wait")

    assert (error.message, str(error), error.problem) == ("no key: pass api_key=, or wait",) * 2 + ("no key",)
    assert describe(error) == "no key [missing_key]"
    assert allm.SessionError("gone", reason="unreadable").problem == "gone"
    assert "allm sessions delete" in describe(allm.SessionError("gone", reason="unreadable"))


# --- every message of the library -------------------------------------------------------------------------------------

ONLY_IN_PYTHON = {
    "aio/blocks.py": "misuse of a block",
    "aio/calls.py": "a command runs Trio",
    "data/speech.py": "no command sends sound",
    "data/media.py": "values that a command makes itself",
    "data/embedding.py": "for numpy",
    "data/openai_messages.py": "no command reads messages of OpenAI's library",
    "data/problems.py": "options, which a command names itself",
    "data/request.py": "types and numbers that a command checks itself",
    "data/response.py": "no command parses answers",
    "data/session.py": "a command makes its sessions itself",
    "data/tool.py": "tools are written in Python",
    "execution/compaction.py": "no command compacts conversations",
    "execution/options.py": "a command makes its engine of a model's name",
    "execution/output_modes.py": "no command sets the mode",
    "execution/prompted/request.py": "a command asks for JSON by a schema only",
    "execution/services/embedding_stream.py": "misuse of a stream",
    "execution/services/reading.py": "misuse of a stream",
    "execution/services/service.py": "a command makes its engine of a model's name",
    "execution/stream/event_stream.py": "misuse of a stream",
    "http/call.py": "keys that are functions of the program",
    "http/keys.py": "keys that are functions of the program",
    "http/response.py": "clients of the program",
    "http/trio_task.py": "a command runs Trio",
    "mcp/connect.py": "tools of MCP servers are chosen in Python",
    "mcp/connection.py": "tools of MCP servers are chosen in Python",
    "providers/anthropic/encode.py": "a command asks for JSON by a schema only",
    "providers/fake/adapter.py": "scripts of tests",
    "providers/gemini/encode.py": "no command has this option",
    "providers/gemini/transcription.py": "no command sends sound",
    "providers/local/adapter.py": "settings of Local, which no command makes",
    "providers/openai/shared_encode.py": "no command uploads images",
    "providers/openai/connection.py": "a command makes its adapter of a model's name",
    "providers/openai/moderation_wire.py": "no command moderates",
    "providers/openai/transcription.py": "no command sends sound",
    "runtime/engine.py": "a command makes its engine of a model's name",
    "runtime/http_adapter.py": "for authors of adapters",
    "runtime/registry.py": "for authors of adapters",
    "runtime/tools.py": "tools are written in Python",
    "session/between_turns.py": "a chat asks about calls that have no answer only",
    "session/host.py": "no command hosts turns",
    "session/hosted_stream.py": "no command hosts turns",
    "session/hosted_turns.py": "no command hosts turns",
    "session/stores/lease.py": "a chat looks at the session before it begins a turn",
    "session/stores/store.py": "a chat makes its sessions itself",
    "session/turn_start.py": "a chat asks about calls that can run only",
    "web/ag_ui_messages.py": "no command serves pages",
    "web/pieces.py": "no command serves pages",
    "web/response.py": "no command serves pages",
    "web/ui_messages.py": "no command serves pages",
}


def texts_in(node):
    """The constant texts in an expression, as one."""
    return " ".join(part.value for part in ast.walk(node) if isinstance(getattr(part, "value", None), str))


def messages():
    """The text of every error of the library, its variables left out, with its place."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith(("cli/", "testing/")):
            continue
        functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, FUNCTIONS)]
        for function in functions:
            named = {}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    name = node.targets[0].id
                    named[name] = f"{named.get(name, '')} {texts_in(node.value)}"
            for node in ast.walk(function):
                made = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
                for text in node.args[:1] if made.endswith("Error") else node.args[2:3] if made == "Problem" else ():
                    yield place, named.get(text.id, "") if isinstance(text, ast.Name) else texts_in(text)


def test_python_is_in_the_advice_and_not_in_the_message():
    """Whatever may reach a shell keeps its Python in `advised`; what cannot is listed, with the reason."""
    with_python = [(place, text) for place, text in messages() if python_in(text)]

    assert [found for found in with_python if found[0] not in ONLY_IN_PYTHON] == []
    assert {place for place, _ in with_python} == ONLY_IN_PYTHON.keys()
