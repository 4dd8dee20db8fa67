"""The command as a process on pipes or on a terminal, with Ctrl-C."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

import allm
from allm import fake
from allm.testing import Reply

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")

STALLED = [fake.text("Four legs,\none"), fake.error(allm.AdapterError("silence", reason="timeout"))]


@pytest.mark.parametrize("as_json", [False, True])
async def test_ctrl_c_leaves_a_clean_terminal(server, to_server, on_a_terminal, as_json):
    """The partial text, `interrupted` on its own line, and a closed connection."""
    server.add(Reply.script("openai", STALLED))
    async with on_a_terminal("generate", "What is a cat?", *to_server, *["--json"] * as_json) as screen:
        await server.wait_requests(1)
        if not as_json:
            await screen.read_until("one")
        await screen.press(b"\x03")
        code = await screen.read_all()

        assert code == 130
        assert not screen.settings_changed
        assert "\x1b" not in screen.text
        before, _, after = screen.text.replace("^C", "").rpartition("\n")[0].rpartition("\n")
        assert after == "interrupted"
        if as_json:
            assert allm.from_json(before, allm.Response).finish_reason is None
        else:
            assert before == "Four legs,\none"
    await server.wait_idle()
    assert server.requests[0].outcome == "client_closed"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], "Some bold text.\n• one\n"),
        (["--plain"], "Some **bold** text.\n- one\n"),
        (["--schema", "name"], "Some **bold** text.\n- one\n"),
    ],
)
async def test_an_answer_is_rendered_at_a_terminal(server, to_server, on_a_terminal, arguments, shown):
    """`--plain` shows it as it came, and so is what has a schema."""
    server.add(Reply.script("openai", [fake.text("Some **bo"), fake.text("ld** text.\n- one")]))
    async with on_a_terminal("generate", "?", *to_server, *arguments) as screen:
        assert await screen.read_all() == 0

        assert screen.shown.text == shown
        assert not screen.settings_changed


async def test_ctrl_c_ends_the_demo(on_a_terminal):
    """No traceback, no style left, and the terminal's settings are unchanged."""
    async with on_a_terminal("demo") as screen:
        await screen.read_until("nursery is")
        await screen.press(b"\x03")
        code = await screen.read_all()

        assert code == 130
        assert not screen.settings_changed
        assert screen.text.endswith("\ninterrupted\n")
        assert "Traceback" not in screen.text
        assert screen.text.rpartition("\x1b")[2].startswith("[0m")
        assert "\x1b[?" not in screen.text  # cursor hidden, other screen: never used


async def test_a_reader_that_leaves_ends_the_call(server, to_server, on_pipes):
    """`allm generate ... | head -1` is silent, and the connection is closed."""
    answer = Reply.script("openai", [fake.text("one\n"), *[fake.text("and more\n")] * 500])
    server.add(attrs.evolve(answer, pauses=dict.fromkeys(answer.event_ends, 0.01)))
    async with on_pipes("generate", "Count.", *to_server) as process:
        assert (await process.stdout.receive_some(4)) in b"one\n"
        await process.stdout.aclose()
        errors = b"".join([data async for data in process.stderr])
        code = await process.wait()

    assert (code, errors) == (141, b"")
    await server.wait_idle()
    assert server.requests[0].outcome == "client_closed"


async def test_no_escape_codes_without_a_terminal(on_pipes, monkeypatch):
    """Even if a variable asks other programs for colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    async with on_pipes("demo", "--fast") as process:
        output = b"".join([data async for data in process.stdout])

        assert await process.wait() == 0
        assert b"\x1b" not in output


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import allm.cli
sys.exit(allm.cli.main(["demo", "--fast"]))
"""


@pytest.mark.parametrize("missing", ["click", "rich", "h11"])
def test_without_the_extra_one_line_says_what_to_install(missing):
    """Without the extra `cli` the command names it."""
    answer = subprocess.run([sys.executable, "-c", WITHOUT, missing], capture_output=True, text=True, check=False)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"allm: {missing} is missing: pip install 'allm-trio[cli]'\n"
