"""`allm bulk`: lines in, lines out, kept in a journal; resumed, stopped by Ctrl-C, looked at."""

from __future__ import annotations

import json
import signal

import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply


def reply(captured):
    """Answers each text with itself; `bad` is refused, `slow` takes a while."""
    text = captured.json()["messages"][-1]["content"]
    if isinstance(text, list):
        text = text[0]["text"]
    if "bad" in text:
        return Reply.error("openai", 400, message="No.")
    items = [fake.delay(0.2)] if "slow" in text else []
    return Reply.script("openai", [*items, fake.text(f"re: {text}"), fake.usage(input_tokens=1, output_tokens=2)])


@pytest.fixture
def to_server(server):
    """The arguments that direct `bulk` to a server that answers everything."""
    server.default = reply
    return ["--model", "openai:scripted", "--base-url", server.url("openai")]


@pytest.fixture
def source(tmp_path):
    """Inputs of every form."""
    path = tmp_path / "in.jsonl"
    path.write_text(
        '"one"\n'
        '{"prompt": "two", "key": "k2"}\n'
        "\n"
        '{"messages": [{"role": "user", "content": "three"}], "custom_id": "k3"}\n'
        '{"custom_id": "k4", "body": {"model": "m", "messages": [{"role": "user", "content": "four"}], "seed": 3}}\n'
    )
    return path


@pytest.fixture
def command(allm_main):
    """The command in this process; paths are arguments too."""
    return lambda *arguments: allm_main(*map(str, arguments))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_lines_in_lines_out(server, to_server, command, source, tmp_path):
    """In the order of the inputs, with their keys; what was asked before is not asked again."""
    output = tmp_path / "out.jsonl"
    code, printed, errors = await command("bulk", source, "-o", output, *to_server)
    assert (code, printed) == (0, "")
    assert "4 answered" in errors
    assert [(line["key"], line["index"], line["text"]) for line in read(output)] == [
        ("0", 0, "re: one"),
        ("k2", 1, "re: two"),
        ("k3", 2, "re: three"),
        ("k4", 3, "re: four"),
    ]
    assert {"input_tokens": 1, "output_tokens": 2}.items() <= read(output)[0]["usage"].items()
    assert sorted(request.json().get("seed", 0) for request in server.requests) == [0, 0, 0, 3]
    code, _, errors = await command("bulk", source, "-o", output, "--resume", *to_server)
    assert code == 0
    assert "4 of them before" in errors
    assert len(server.requests) == 4


async def test_prompts_in_a_text_file(server, to_server, command, tmp_path):
    """Each line that is not blank is one; instructions come before it; "-" is standard output."""
    (tmp_path / "in.txt").write_text("one\n\n  two  \n")
    arguments = ["-s", "Be brief.", "--journal", tmp_path / "j.sqlite", *to_server]
    code, printed, _ = await command("bulk", tmp_path / "in.txt", "-o", "-", *arguments)
    assert code == 0
    assert [json.loads(line)["text"] for line in printed.splitlines()] == ["re: one", "re: two"]
    assert server.requests[0].json()["messages"][0]["content"] == "Be brief."


async def test_an_earlier_run_is_not_overwritten(server, to_server, command, source, tmp_path):
    """Neither its output nor its journal, unless that is said."""
    output = tmp_path / "out.jsonl"
    await command("bulk", source, "-o", output, *to_server)
    code, _, errors = await command("bulk", source, "-o", output, *to_server)
    assert code == 2
    assert "--resume" in errors
    output.unlink()
    code, _, errors = await command("bulk", source, "-o", output, *to_server)
    assert code == 2
    assert "--resume" in errors
    code, *_ = await command("bulk", source, "-o", output, "--force", *to_server)
    assert code == 0
    assert len(server.requests) == 8


async def test_failures(server, to_server, command, source, tmp_path):
    """They are lines too, and the exit code says that there are some; `retry` asks them again."""
    source.write_text('"one"\n"bad"\n')
    output, journal = tmp_path / "out.jsonl", tmp_path / "out.jsonl.sqlite"
    code, _, errors = await command("bulk", source, "-o", output, *to_server)
    assert code == 1
    assert "1 failed" in errors
    assert read(output)[1]["error"]["reason"] == "invalid_request"
    code, printed, _ = await command("bulk", "status", journal)
    assert code == 0
    assert printed.startswith("2 of 2 inputs have ended: 1 answered, 1 failed; $0.0000")
    code, printed, _ = await command("bulk", "export", journal, "--failed")
    assert [json.loads(line)["index"] for line in printed.splitlines()] == [1]
    server.default = lambda _: Reply.script("openai", [fake.text("better")])
    code, *_ = await command("bulk", "retry", journal)
    assert code == 0
    assert [line["text"] for line in read(output)] == ["re: one", "better"]
    assert len(server.requests) == 3


async def test_whole_responses(to_server, command, source, tmp_path):
    """With --full, as `from_json` reads them."""
    await command("bulk", source, "-o", tmp_path / "out.jsonl", "--full", *to_server)
    response = allm.from_json(json.dumps(read(tmp_path / "out.jsonl")[0]["response"]), allm.Response)
    assert response.output_text == "re: one"


@pytest.mark.parametrize("line", ["no json", "3", '{"other": 1}', '{"messages": 3}', '{"messages": [{"role": "x"}]}'])
async def test_a_line_that_is_no_input(to_server, command, source, tmp_path, line):
    """The lines before it are answered; the error names it, and no traceback comes."""
    source.write_text(f'"one"\n{line}\n')
    code, _, errors = await command("bulk", source, "-o", tmp_path / "out.jsonl", *to_server)
    assert code == 2
    assert "line 2" in errors
    assert "the same command with --resume goes on" in errors
    assert "Traceback" not in errors
    assert len(read(tmp_path / "out.jsonl")) == 1
    source.write_text('"one"\n"two"\n')
    code, _, errors = await command("bulk", source, "-o", tmp_path / "out.jsonl", "--resume", *to_server)
    assert (code, len(read(tmp_path / "out.jsonl"))) == (0, 2)


async def test_a_journal_that_is_none(to_server, command, source, tmp_path):
    """One line, before anything is sent."""
    (tmp_path / "j.sqlite").write_text("no database at all")
    code, _, errors = await command(
        "bulk", source, "-o", tmp_path / "out.jsonl", "--journal", tmp_path / "j.sqlite", *to_server
    )
    assert code == 1
    assert "is no SQLite database" in errors
    for name in ("status", "export", "retry"):
        code, _, errors = await command("bulk", name, tmp_path / "none")
        assert code == 2
        assert "no journal" in errors


@pytest.mark.parametrize("presses", [1, 2])
async def test_ctrl_c(server, to_server, on_pipes, source, tmp_path, presses):
    """Once finishes what is under way, twice ends at once; what was answered is written, and the run goes on later."""
    source.write_text("".join(f'"slow {index}"\n' for index in range(40)))
    output, begun = tmp_path / "out.jsonl", trio.Event()

    def fifth(captured):
        if len(server.requests) >= 5:
            begun.set()
        return reply(captured)

    server.default = fifth
    async with on_pipes("bulk", str(source), "-o", str(output), "--limit", "2", *to_server) as process:
        await begun.wait()
        process.send_signal(signal.SIGINT)
        errors = (await process.stderr.receive_some()).decode()
        if presses > 1:
            process.send_signal(signal.SIGINT)
        errors += b"".join([piece async for piece in process.stderr]).decode()
        code = await process.wait()
    assert code == 130, errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    written = len(read(output))
    assert 3 <= written < 40
    if presses == 1:
        assert written == len(server.requests)


async def test_a_bar_at_a_terminal(to_server, on_a_terminal, source, tmp_path):
    """It says how far the run is, and ends with its line."""
    async with on_a_terminal("bulk", str(source), "-o", str(tmp_path / "out.jsonl"), *to_server) as screen:
        assert await screen.read_all() == 0
    assert "4/4" in screen.text
    assert "4 lines in" in screen.text
