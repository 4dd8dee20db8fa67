"""`allm embed`: a line of JSON for each text, and only whole lines."""

from __future__ import annotations

import io
import json
import sys

import attrs
import pytest
import trio

import allm
from allm.cli.embed import Embedding, texts_of
from allm.cli.terminal import Terminal
from allm.providers import FakeEmbeddings
from allm.providers.fake.vectors import made_vector
from allm.testing import Reply, Stall


class TerminalText(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self):
        """Yes."""
        return True


@pytest.fixture
def to_server(server):
    """The arguments that direct `embed` to a server that responds to everything."""
    server.default = Reply.embeddings
    return ["--model", "openai:text-embedding-3-small", "--base-url", server.url("openai")]


def lines(output):
    return [json.loads(line) for line in output.splitlines()]


async def test_texts_as_arguments(server, to_server, allm_main):
    """The lines are in order, with the vectors."""
    code, output, errors = await allm_main("embed", "one", "two", *to_server)
    assert (code, errors) == (0, "")
    assert lines(output) == [
        {"index": 0, "text": "one", "embedding": list(made_vector("one", 8))},
        {"index": 1, "text": "two", "embedding": list(made_vector("two", 8))},
    ]


async def test_options_reach_the_provider(server, to_server, allm_main):
    """They are sent unchanged."""
    options = ["--dimensions", "3", "--task", "query", "--option", "truncate=end", "--batch-size", "1"]
    code, output, _ = await allm_main("embed", "one", "two", *options, *to_server)
    assert code == 0
    assert [len(line["embedding"]) for line in lines(output)] == [3, 3]
    assert len(server.requests) == 2
    assert {"dimensions": 3, "truncate": "end"}.items() <= server.requests[0].json().items()


async def test_a_file_into_a_file(server, to_server, allm_main, tmp_path):
    """Blank lines are skipped; nothing is printed."""
    source, place = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes("\ufefffirst\n\n  zweite Zeile: ü \r\nlast".encode())
    code, output, errors = await allm_main(
        "embed", "--file", str(source), "-o", str(place), "--batch-size", "2", *to_server
    )
    assert (code, output, errors) == (0, "", "")
    assert [(line["index"], line["text"]) for line in lines(place.read_text("utf-8"))] == [
        (0, "first"),
        (1, "zweite Zeile: ü"),
        (2, "last"),
    ]


async def test_a_file_is_not_overwritten(server, to_server, allm_main, tmp_path):
    """Without --force it is a usage error, and nothing is sent."""
    place = tmp_path / "out.jsonl"
    place.write_text("mine")
    code, _, errors = await allm_main("embed", "a", "-o", str(place), *to_server)
    assert (code, place.read_text(), server.requests) == (2, "mine", [])
    assert "--force" in errors
    code, _, _ = await allm_main("embed", "a", "-o", str(place), "--force", *to_server)
    assert code == 0
    assert len(lines(place.read_text())) == 1


async def test_standard_input(server, to_server, allm_main, monkeypatch):
    """By `-`, or if it is a pipe."""
    for arguments in (["--file", "-"], []):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n"), "utf-8"))
        code, output, _ = await allm_main("embed", *arguments, *to_server)
        assert code == 0
        assert [line["text"] for line in lines(output)] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "data", "match"),
    [
        (["a", "--file", "-"], b"", "not both"),
        (["--file", "no such file"], b"", "cannot read no such file"),
        (["--file", "-"], b"a\n\xff\n", "line 2"),
        ([], b"", "nothing to embed"),
        (["a", "--task", "poetry"], b"", "no such task"),
        (["a", "--base-url", "ftp://x"], b"", "--base-url"),
    ],
)
async def test_what_cannot_be_embedded(server, to_server, allm_main, monkeypatch, arguments, data, match):
    """Each usage error is named, and nothing is sent."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
    code, output, errors = await allm_main("embed", *to_server, *arguments)
    assert code in {1, 2}
    assert match in errors
    assert (output, server.requests) == ("", [])


def test_nothing_on_a_terminal(terminal):
    """The usage error says what to give."""
    with pytest.raises(Exception, match="Missing argument"):
        texts_of((), None, terminal.stdin)


def test_lines_from_what_is_no_file(tmp_path):
    """A pipe or a text stream is read to its end first."""
    texts, total = texts_of((), "-", io.StringIO("a\n\nb"))
    assert (list(texts), total) == (["a", "b"], None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/null")
async def test_an_empty_device(server, to_server, allm_main):
    """It has no lines."""
    code, _, errors = await allm_main("embed", "--file", "/dev/null", *to_server)
    assert (code, server.requests) == (1, [])
    assert "nothing to embed" in errors


async def test_a_failure_keeps_the_lines_before_it(server, to_server, allm_main):
    """Then the error is shown."""

    def answer(request):
        if request.json()["input"] == ["a"]:
            return Reply.embeddings(request)
        return Reply.error("openai", 400, message="no")

    server.default = answer
    code, output, errors = await allm_main("embed", "a", "b", "--batch-size", "1", *to_server)
    assert code == 1
    assert [line["text"] for line in lines(output)] in ([], ["a"])  # whichever answer comes first
    assert "status 400, reason invalid_request" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
async def test_ctrl_c_keeps_what_is_written(server, to_server, on_a_terminal, tmp_path):
    """Whole lines are kept, the requests are closed, and progress is shown."""
    source, place = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("a\nb\nc\nd\n")

    def answer(request):
        reply = Reply.embeddings(request)
        return attrs.evolve(reply, fault=Stall(1)) if request.json()["input"] == ["c"] else reply

    server.default = answer
    arguments = ["embed", "--file", str(source), "-o", str(place), "--batch-size", "1", *to_server]
    async with on_a_terminal(*arguments) as screen:
        await screen.read_until("3 texts")
        await screen.press(b"\x03")
        assert await screen.read_all() == 130
        assert screen.text.replace("^C", "").endswith("\n2 texts were embedded and written\ninterrupted\n")
        assert not screen.settings_changed
    assert [line["text"] for line in lines(place.read_text())] == ["a", "b"]
    await server.wait_idle()


def embedding(terminal, texts, **fields):
    adapter = FakeEmbeddings(batch_limit=1)
    return Embedding(
        engine=allm.Engine(embedding_adapter=adapter),
        texts=texts,
        request=allm.EmbeddingRequest(()),
        batch_size=None,
        output=None,
        terminal=terminal,
        **{"total": None, **fields},
    )


async def test_progress(terminal, pipes, tmp_path):
    """It is shown on a terminal if the output is a file or a pipe."""
    for total, shown in ((2, "\r1 of 2 texts\r2 of 2 texts\n"), (None, "\r1 texts\r2 texts\n")):
        beside = Terminal(terminal.stdin, io.StringIO(), TerminalText())
        run = embedding(beside, iter("ab"), total=total).run
        assert await trio.to_thread.run_sync(run) == 0
        assert beside.stderr.stream.getvalue() == shown
    for quiet in (terminal, pipes):
        assert await trio.to_thread.run_sync(embedding(quiet, ["a"]).run) == 0
        assert quiet.stderr.stream.getvalue() == ""


async def test_an_interrupt_says_what_is_written(pipes, monkeypatch):
    """Then it ends like any other command."""

    async def struck(work):
        with trio.CancelScope() as scope:
            scope.cancel()
            await work()

    monkeypatch.setattr("allm.cli.embed.run_until_interrupted", struck)
    with pytest.raises(KeyboardInterrupt):
        await trio.to_thread.run_sync(embedding(pipes, ["a"]).run)
    assert pipes.stderr.stream.getvalue() == "0 texts were embedded and written\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
async def test_progress_with_a_total(server, to_server, on_a_terminal, tmp_path):
    """For texts as arguments; none if the lines are on the screen."""
    async with on_a_terminal("embed", "a", "b", "-o", str(tmp_path / "out"), *to_server) as screen:
        assert await screen.read_all() == 0
        assert screen.text.strip() == "2 of 2 texts"
    async with on_a_terminal("embed", "a", *to_server) as screen:
        assert await screen.read_all() == 0
        assert screen.text.startswith('{"index":0,"text":"a"')


async def test_a_reader_that_leaves(server, to_server, on_pipes):
    """`allm embed ... | head -1` writes nothing to standard error."""
    async with on_pipes("embed", *(f"text {n}" for n in range(2000)), "--dimensions", "64", *to_server) as process:
        assert (await process.stdout.receive_some(4)) == b'{"in'
        await process.stdout.aclose()
        errors = b"".join([data async for data in process.stderr])
        assert (await process.wait(), errors) == (141, b"")
