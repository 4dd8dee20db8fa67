"""Every host does everything: the table of docs/environments.md, each cell of which is a test here."""

from __future__ import annotations

import pytest

import allm.blocking
from allm import fake
from allm.blocking.blocks import BlockingBlock
from allm.testing import Reply, WireServer

WITHOUT = "installed by `nox -s hosts`"
for needed in ("ipykernel", "jupyter_client", "uvicorn", "hypercorn", "starlette", "fastapi"):
    pytest.importorskip(needed, reason=WITHOUT)

from hosts import notebook, programs, web  # noqa: E402
from test_docs import ROOT  # noqa: E402

HOSTS = [
    programs.Trio,
    programs.Asyncio,
    programs.Script,
    notebook.Notebook,
    notebook.BlockingNotebook,
    notebook.TrioNotebook,
    web.Uvicorn,
    web.Hypercorn,
    web.StarletteOnUvicorn,
    web.StarletteOnHypercorn,
]
WHOLE = Reply.script("openai", [fake.text("Hello "), fake.text("there.")])
HALF = Reply.script("openai", [fake.text("Half"), fake.delay(1000)])
CALLS = Reply.script("openai", [fake.tool_call("double", {"n": 3}), fake.tool_call("triple", {"n": 3})])
WAIT = Reply.script("openai", [fake.tool_call("wait", {})])


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: host.__name__)
def host(request):
    """A host that runs; a server or a kernel serves all operations."""
    running = request.param()
    yield running
    running.close()


@pytest.fixture
def provider():
    """The provider, in the Trio thread of this process."""
    with BlockingBlock(WireServer(), lambda server, _: server) as server:
        yield server


def run(host, provider, operation, reply, store=""):
    provider.default = reply
    return host.run(operation, provider.url("openai"), store)


def closed(provider):
    """Check that the connection of the only request was closed by its client."""

    async def wait():
        import trio

        with trio.fail_after(20):
            await provider.wait_idle()

    allm.blocking.run(wait)
    return [request.outcome for request in provider.requests] == ["client_closed"]


def generate(host, provider, _):
    """The whole answer."""
    assert run(host, provider, "generate", WHOLE) == ["Hello there."]


def stream(host, provider, _):
    """The pieces of an answer."""
    assert run(host, provider, "stream", WHOLE) == ["Hello there."]


def break_(host, provider, _):
    """Leaving the block closes the provider's connection, and what has arrived is there."""
    assert run(host, provider, "break", HALF) == ["Half"]
    assert closed(provider)


def cancel(host, provider, _):
    """So does a cancellation from outside, as this host has it."""
    provider.default = HALF
    assert host.cut("cancel", provider.url("openai"), "") == ["Half"]
    assert closed(provider)


def deadline(host, provider, _):
    """So does a time limit."""
    assert run(host, provider, "deadline", HALF) == ["Half"]
    assert closed(provider)


def tools(host, provider, _):
    """Async tools run where the host does, sync ones in other threads; a cancelled one has ended with its turn."""

    def reply(request):
        body = request.json()
        if [tool["function"]["name"] for tool in body["tools"]] == ["wait"]:
            return WAIT
        return WHOLE if body["messages"][-1]["role"] == "tool" else CALLS

    assert run(host, provider, "tools", reply) == [["Hello there.", ["6", "9"], [True, True], [True]]]


def session(host, provider, folder):
    """A turn that is cancelled is saved with what had arrived, and the session goes on from there."""
    store = f"sqlite:///{folder}/sessions.db"
    provider.default = HALF
    assert host.cut("session", provider.url("openai"), store) == ["Half"]
    assert closed(provider)

    def texts():
        with allm.blocking.session.open_store(store) as opened:
            return [message.text for message in opened.load("a")[0].thread.messages]

    assert texts() == ["Hi", "Half"]
    assert run(host, provider, "reply", WHOLE, store) == ["Hello there."]
    assert texts() == ["Hi", "Half", "Go on", "Hello there."]


OPERATIONS = {
    "generate": generate,
    "stream": stream,
    "break": break_,
    "cancel": cancel,
    "deadline": deadline,
    "tools": tools,
    "session": session,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_host_does_everything(host, operation, provider, tmp_path):
    """One cell of the table; the docstring of the operation says what has to be true."""
    OPERATIONS[operation](host, provider, tmp_path)


def table():
    """The table of the page."""
    rows = [["where", *OPERATIONS], ["---"] * (1 + len(OPERATIONS))]
    for one in HOSTS:
        ways = {"cancel": one.cancelled_by, "deadline": one.limited_by}
        rows.append([f"{one.title}: {one.calls}", *(ways.get(operation, "yes") for operation in OPERATIONS)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_page_has_this_table():
    """The page claims what is tested, no more and no less."""
    page = (ROOT / "docs" / "environments.md").read_text("utf-8")
    assert table() in page, f"write this table into docs/environments.md:\n\n{table()}"
