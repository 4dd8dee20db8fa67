"""Where the answer of `allm generate` goes: a file, a pipe, its code alone; and what is told beside it."""

from __future__ import annotations

import json
import sys

import pytest

import allm
from allm import fake
from allm.testing import Reply

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")

CODE = "Here:\n```python\nx = 1\n```\nand\n```sh\nls\n```\n"
USAGE = fake.usage(input_tokens=1200, output_tokens=340, cached_input_tokens=1000, reasoning_tokens=200)
CUT = [fake.text("Four"), fake.error(allm.AdapterError("cut", reason="network_error"))]


@pytest.fixture
def run(server, to_server, allm_main):
    """Run `generate` with a scripted answer; returns exit code, output and error output."""

    async def run(script, *arguments):
        server.add(Reply.script("openai", script))
        return await allm_main("generate", "?", *arguments, *to_server)

    return run


async def test_a_file_gets_the_whole_answer(run, tmp_path):
    """With a line end, and nothing is printed."""
    assert await run([fake.text("Yes.")], "-o", str(tmp_path / "out.md")) == (0, "", "")

    assert (tmp_path / "out.md").read_text() == "Yes.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.md"]


async def test_the_sources_of_an_answer_are_listed_beside_it(run):
    """Each once, on standard error, so that a pipe gets the text alone; the JSON has them anyway."""
    script = [
        fake.text("Yes. No."),
        fake.citation(0, 4, url="https://a.example", title="A\x1b[2J"),
        fake.citation(5, 8, url="https://b.example"),
        fake.citation(0, 8, url="https://a.example", title="A\x1b[2J"),
    ]
    code, output, errors = await run(script)
    assert (code, output) == (0, "Yes. No.\n")
    assert [line.split()[0] for line in errors.splitlines()] == ["[1]", "[2]"]
    assert "\x1b" not in errors
    assert errors.splitlines()[1] == "[2] https://b.example"
    _, output, errors = await run(script, "--json")
    assert (len(json.loads(output)["message"]["content"][0]["citations"]), errors) == (3, "")


async def test_a_dash_is_standard_output(run):
    """The text alone."""
    assert await run([fake.text("Yes.")], "-o", "-") == (0, "Yes.\n", "")


async def test_a_file_is_only_overwritten_by_force(run, tmp_path):
    """It is looked at before anything is sent."""
    out = tmp_path / "out.md"
    out.write_text("mine")

    code, _, errors = await run([fake.text("Yes.")], "-o", str(out))
    assert (code, out.read_text()) == (2, "mine")
    assert "--force" in errors
    assert (await run([fake.text("Yes.")], "-o", str(out), "--force"))[0] == 0
    assert out.read_text() == "Yes.\n"


@pytest.mark.parametrize(
    ("place", "says"), [("", "is a folder"), ("no/x", "does not exist"), ("shut/x", "not writable")]
)
async def test_a_place_that_cannot_be_written_is_wrong_usage(server, run, tmp_path, monkeypatch, place, says):
    """Nothing is sent, so nothing is paid for."""
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr("os.access", lambda path, _: path.name != "shut")  # root may write anywhere

    code, _, errors = await run([], "-o", str(tmp_path / place))

    assert (code, server.requests) == (2, [])
    assert says in " ".join(errors.split())


async def test_a_file_never_has_half_an_answer(run, tmp_path):
    """What arrived before a failure is printed instead."""
    out = tmp_path / "out.md"
    out.write_text("the last one")

    code, output, errors = await run(CUT, "-o", str(out), "--force")

    assert (code, output, out.read_text()) == (1, "Four\n", "the last one")
    assert errors.startswith("Error: ")


async def test_an_answer_that_cannot_be_saved_is_printed(run, tmp_path, monkeypatch):
    """The disk is full, but the answer was paid for."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("allm.cli.generate.write_whole", full)

    code, output, errors = await run([fake.text("Yes.")], "-o", str(tmp_path / "x"))

    assert (code, output, errors) == (1, "Yes.\n", "Error: No space left on device\n")


@pytest.mark.parametrize(("option", "code"), [("-x", "x = 1\n"), ("--xl", "ls\n"), ("--extract", "x = 1\n")])
async def test_a_code_block_can_be_printed_alone(run, option, code):
    """The first or the last one, as it is."""
    assert await run([fake.text(CODE)], option) == (0, code, "")


async def test_without_a_code_block_all_is_printed(run):
    """A note says so; the exit code is that of an answer."""
    code, output, errors = await run([fake.text("x = 1")], "-x")

    assert (code, output) == (0, "x = 1\n")
    assert errors == "Note: the answer has no code block; all of it is printed\n"


async def test_a_code_block_can_go_into_a_file(run, tmp_path):
    """Both options together; so does the whole response as JSON."""
    assert await run([fake.text(CODE)], "-x", "-o", str(tmp_path / "x.py")) == (0, "", "")
    assert await run([fake.text(CODE)], "--json", "-o", str(tmp_path / "x.json")) == (0, "", "")

    assert (tmp_path / "x.py").read_text() == "x = 1\n"
    assert allm.from_json((tmp_path / "x.json").read_text(), allm.Response).output_text == CODE


@pytest.mark.parametrize("pair", [["-x", "--xl"], ["-x", "--json"], ["--schema", "a", "--schema-multi", "a"]])
async def test_options_that_exclude_each_other_are_wrong_usage(allm_main, pair):
    """Both are named."""
    code, _, errors = await allm_main("generate", "?", "-m", "openai:x", *pair)

    assert code == 2
    assert "cannot be used together" in errors


async def test_a_schema_in_short_form_is_sent(server, run):
    """As JSON Schema, a list of them too."""
    await run([fake.text("{}")], "--schema", "name, age int")
    await run([fake.text("{}")], "--schema-multi", "name")

    one, many = [request.json()["response_format"]["json_schema"]["schema"] for request in server.requests]
    assert one["properties"] == {"name": {"type": "string"}, "age": {"type": "integer"}}
    assert many["properties"]["items"]["items"]["properties"] == {"name": {"type": "string"}}


async def test_the_usage_is_one_line_on_standard_error(run):
    """Tokens with their parts, and what they cost where it is known."""
    code, output, errors = await run([fake.text("Yes."), USAGE], "-u")

    assert (code, output) == (0, "Yes.\n")
    assert errors == "Usage: 1,200 tokens in (1,000 cached), 340 out (200 reasoning), $0.0059\n"


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        (allm.Usage(), "Usage: not reported by the provider, cost not known"),
        (allm.Usage(input_tokens=3, total_cost=0.000123456), "Usage: 3 tokens in, ? out, $0.00012"),
        (allm.Usage(input_tokens=3, output_tokens=5, total_cost=8.2e-05), "Usage: 3 tokens in, 5 out, $0.000082"),
        (allm.Usage(input_tokens=3, output_tokens=0, total_cost=1.239), "Usage: 3 tokens in, 0 out, $1.24"),
        (allm.Usage(input_tokens=3, output_tokens=1, total_cost=0), "Usage: 3 tokens in, 1 out, $0.00"),
    ],
)
def test_a_count_that_is_not_known_is_not_zero(usage, line):
    """Nor is a cost; small ones keep two digits, without an exponent."""
    from allm.cli.usage_note import usage_line

    assert usage_line(usage) == line


async def test_retries_and_times_are_shown_on_demand(server, run):
    """`--verbose`: each retry with its reason, then model, ids and times."""
    server.add(Reply.error("openai", 429, message="Slow down.", headers={"retry-after": "0.01"}))

    code, output, errors = await run([fake.text("Yes."), USAGE], "--verbose")

    assert (code, output) == (0, "Yes.\n")
    retry, facts = errors.splitlines()
    assert retry == "attempt 1 failed: Slow down. (rate_limited, status 429); trying again in 0.0 s"
    assert "first token after " in facts
    assert facts.startswith("openai gpt-5.4-2026-03-05, request req_scripted0")


async def test_without_stream_the_answer_comes_whole(server, to_server, on_a_terminal):
    """At its end, in one piece."""
    server.add(Reply.script("openai", [fake.text("one\n"), fake.text("two")]))
    async with on_a_terminal("generate", "?", "--no-stream", *to_server) as screen:
        assert await screen.read_all() == 0
        assert screen.text == "one\ntwo\n"


async def test_a_saved_answer_is_told_at_a_terminal(server, to_server, on_a_terminal, tmp_path):
    """The name of the file on standard error."""
    server.add(Reply.script("openai", [fake.text("one")]))
    async with on_a_terminal("generate", "?", "-o", str(tmp_path / "x"), *to_server) as screen:
        assert await screen.read_all() == 0
        assert f"saved to {tmp_path}/x" in screen.text.replace("\n", "")


async def test_ctrl_c_prints_what_arrived_and_keeps_the_file(server, to_server, on_a_terminal, tmp_path):
    """Exit code 130, and no half answer in the file."""
    stalled = [fake.text("Four legs,\none"), fake.error(allm.AdapterError("silence", reason="timeout"))]
    server.add(Reply.script("openai", stalled))
    async with on_a_terminal("generate", "?", "-o", str(tmp_path / "x"), *to_server) as screen:
        await server.wait_requests(1)
        await screen.press(b"\x03")

        assert await screen.read_all() == 130
        assert screen.text.replace("^C", "").endswith("interrupted\n")
        assert not (tmp_path / "x").exists()
    assert json.loads(server.requests[0].body)
