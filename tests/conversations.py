"""Sessions in every status, with the tools and scripts that lead to it."""

from __future__ import annotations

import allm
from allm import fake


async def noop(arguments):
    """Async, because virtual time does not wait for threads."""
    return "ok"


async def ask(arguments):
    return allm.AskUser("Which city?", choices=["Zug", "Bern"])


NOOP = allm.Tool("noop", "Does nothing.", handler=noop)
ASK = allm.Tool("ask", "Asks.", handler=ask)
BY_HAND = allm.Tool("by_hand", "Is answered by the caller.", manual=True)
PAY = allm.Tool("pay", "Pays.", handler=noop, manual=True)
TOOLS = (NOOP, ASK, BY_HAND, PAY)

TEXT = [fake.text("done")]
CALL = [fake.tool_call("noop", id="c0")]


def engine(*scripts, tools=TOOLS, **fields):
    return allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=tools, **fields)


SCRIPTS = {
    "completed": TEXT,
    "awaiting_user": [fake.tool_call("ask", id="c1")],
    "awaiting_tools": [fake.tool_call("by_hand", {"n": 1}, id="c1")],
    "error": [fake.text("half"), fake.error(allm.AdapterError("no", reason="invalid_request"))],
}


async def in_status(status, **fields):
    """A session in `status`, as a turn leaves it."""
    session = allm.Session(id="s", thread=allm.Thread([allm.user("go")]), **fields)
    if status != "idle":
        session, _ = await allm.session.start(engine(SCRIPTS[status]), session)
    assert session.status == status
    allm.validate(session)
    return session


def roles(session):
    return [message.role for message in session.thread.messages]


def texts(session):
    return [message.text for message in session.thread.messages]
