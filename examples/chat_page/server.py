"""A chat in a page, on a Trio server: `python examples/chat_page/server.py`, then open the address that it prints.

    pip install . starlette 'hypercorn[trio]'

Without a key, a demo model answers; ALLM_MODEL=openai:gpt-5.4-mini takes a real one. The conversations are kept in
ALLM_STORE, such as sqlite:///chat.db, or in memory. The address is ALLM_BIND, or 127.0.0.1:8000. Whoever can reach it
can read each conversation whose id they know, so put a login in front of it before you share it.

A request begins a turn in a host and returns at once. Each open page has one connection for server-sent events, over
which it follows its session: first a snapshot, then every event. So a page that is reloaded, or a second tab, sees the
same answer; and a connection that breaks goes on with the event after the last one that arrived.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from demo_model import DemoModel, pay
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import allm

PAGE = Path(__file__).with_name("index.html")
MOST_BYTES = 20 * 1024 * 1024  # of one request: a few photographs
PATIENCE = 10.0  # seconds that a page waits for a session that another server has
SILENCE = 15.0  # seconds after which a comment is sent, so that no proxy takes the connection for dead


class Chat:
    """The endpoints: each is about one session, whose id is in the path."""

    def __init__(self, engine: allm.Engine, store: allm.session.SessionStore, host: allm.session.SessionHost) -> None:
        self.engine, self.store, self.host = engine, store, host

    async def send(self, request: Request) -> Response:
        """Begin a turn with a message: `{"text": ..., "images": [data URIs]}`."""
        given = await body_of(request)
        images = [allm.Image.from_data_uri(uri) for uri in given.get("images", [])]
        text = given.get("text", "")
        message = allm.user(*([text] if text else []), *images) if images else allm.user(text)
        return await begun(self.host.reply(id_of(request), self.engine, message))

    async def decide(self, request: Request) -> Response:
        """Approve or deny a call: `{"id": ..., "allow": true, "shown": fingerprint}`. After the last one, go on."""
        given = await body_of(request)
        if given.get("allow") is True:
            change = self.host.change(id_of(request), allm.session.approve, given["id"], shown=given["shown"])
        else:
            change = self.host.change(id_of(request), allm.session.deny, given["id"])
        session = await change
        if len(session.approvals) < len(session.pending_tool_calls):
            return JSONResponse({"turn": None})
        return await begun(self.host.continue_(id_of(request), self.engine))

    async def retry(self, request: Request) -> Response:
        """Run the turn again that has failed."""
        await body_of(request)
        return await begun(self.host.continue_(id_of(request), self.engine))

    async def stop(self, request: Request) -> Response:
        """End the turn; what there is of the answer is kept."""
        await body_of(request)
        return JSONResponse({"stopped": await self.host.cancel(id_of(request))})

    async def events(self, request: Request) -> Response:
        """Follow the session, as server-sent events."""
        return ServerSentEvents(self, id_of(request), request.headers.get("last-event-id", ""))

    async def follow(self, session_id: str, seen: str, send: Callable[..., Awaitable[None]]) -> None:
        """Tell a page what there is, then what happens, for as long as it is there.

        Args:
            session_id: The id of the session.
            seen: The id of the last event that the page has: turn and number.
            send: Sends one server-sent event.
        """
        turn, _, number = seen.partition(".")
        if number.isdigit():
            try:
                async with self.host.attach(session_id, after=int(number), turn=turn) as events:
                    await self.pass_on(events, send)
            except allm.SessionError:
                pass  # that turn is over: the page gets all that there is
        while True:
            last = self.host.last_turn(session_id)
            if self.host.running(session_id):
                async with self.host.attach(session_id, after=None) as events:
                    session, result = events.outcome()
                    snapshot = {**state_of(session, running=True), "open": is_open(result)}
                    await send("snapshot", snapshot, f"{events.turn}.{events.number}")
                    await self.pass_on(events, send)
            else:
                await send("snapshot", {**state_of(await self.load(session_id), running=False), "open": False})
                await self.host.next_turn(session_id, after=last)

    async def pass_on(self, events: allm.session.HostedStream, send: Callable[..., Awaitable[None]]) -> None:
        """Send the events of a turn to its end. How it ended is in the snapshot that follows, also after a failure."""
        try:
            async for event in events:
                shown = shown_of(event)
                if shown is not None:
                    await send("event", shown, f"{events.turn}.{events.number}")
        except allm.AllmError as error:
            await send("problem", {"text": problem_of(error)})

    async def load(self, session_id: str) -> allm.Session:
        """The session as it is stored; an empty one if it is new."""
        try:
            return (await self.store.load(session_id))[0]
        except allm.SessionError as error:
            if error.reason != "not_found":
                raise
            return allm.Session(id=session_id)


class ServerSentEvents(Response):
    """A response that follows a session until the page goes away, which ends it at any point."""

    media_type = "text/event-stream"

    def __init__(self, chat: Chat, session_id: str, seen: str) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]  # it has no end
        self.chat, self.session_id, self.seen = chat, session_id, seen

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        lock = trio.Lock()  # one piece at a time

        async def write(data: str) -> None:
            async with lock:
                await send({"type": "http.response.body", "body": data.encode(), "more_body": True})

        async def send_event(name: str, value: Any, place: str = "") -> None:
            await write(f"event: {name}\n{f'id: {place}' if place else 'id'}\ndata: {json.dumps(value)}\n\n")

        async def cancel_when_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        async def break_silence() -> None:
            while True:
                await trio.sleep(SILENCE)
                await write(": still here\n\n")

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await write("retry: 1000\n\n")  # milliseconds until the browser connects again
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_gone)
            nursery.start_soon(break_silence)
            await self.chat.follow(self.session_id, self.seen, send_event)


# --- what a page is told ---------------------------------------------------------------------------------------------


def state_of(session: allm.Session, *, running: bool) -> dict[str, Any]:
    """A session for the page, which has no use for the system prompt."""
    messages = [message for message in session.thread.messages if message.role != "system"]
    waiting = {approval.tool_call_id for approval in session.approvals}
    pending = [] if running else [call for call in session.pending_tool_calls if call.id not in waiting]
    return {
        "running": running,
        "status": session.status,
        "error": problem_of(session.error) if session.error is not None else None,
        "messages": [message_of(message) for message in messages if not (running and is_cut(message))],
        "pending": [
            {"id": call.id, "name": call.name, "arguments": call.arguments, "shown": allm.session.fingerprint(call)}
            for call in pending
        ],
    }


def problem_of(error: allm.AllmError) -> str:
    """A failure for the page. What the provider says about itself, the model and the account stays here, in the log."""
    return f"The answer failed ({error.reason})."


def message_of(message: allm.Message) -> dict[str, Any]:
    """A message for the page."""
    parts = message.content if isinstance(message.content, tuple) else ()
    return {
        "role": message.role,
        "text": message.text,
        "images": [uri for part in parts if isinstance(part, allm.ImagePart) for uri in inside(part.image)],
        "calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls],
        "answers": message.tool_call_id,
        "failed": message.is_error,
    }


def inside(image: allm.Image) -> list[str]:
    """A picture for the page; none if it is elsewhere, or of no known type: the page loads nothing from elsewhere."""
    try:
        return [image.to_data_uri()]
    except allm.ValidationError:
        return []


def is_cut(message: allm.Message) -> bool:
    """Whether it is the result of a call that has not ended: a turn that would end now would have it."""
    return message.role == "tool" and message.is_error and '"type":"cancelled"' in message.text


def is_open(result: allm.ChatResult) -> bool:
    """Whether more of the last message follows."""
    response = result.final_response
    return response is not None and response.finish_reason is None and bool(response.message.content)


def shown_of(event: allm.Event) -> dict[str, Any] | None:
    """An event for the page; None for those that it does not need."""
    match event:
        case allm.MessageStarted():
            return {"type": "message"}
        case allm.TextDelta():
            return {"type": "text", "text": event.delta}
        case allm.ToolCallCompleted():
            return {"type": "call", "id": event.id, "name": event.name, "arguments": event.arguments}
        case allm.ToolResultEncoded():
            result = event.message
            return {"type": "result", "id": result.tool_call_id, "text": result.text, "failed": result.is_error}
        case _:
            return None


# --- the server ------------------------------------------------------------------------------------------------------


def id_of(request: Request) -> str:
    """The id of the session."""
    return str(request.path_params["id"])


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON of a request. Its type has to be JSON, which no other site can send from a visitor's browser.

    Raises:
        ValueError: It is no JSON object, or too large.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ValueError("send JSON, with the content type application/json")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BYTES:
            raise ValueError(f"the message is larger than {MOST_BYTES >> 20} MiB: send fewer or smaller pictures")
    value = json.loads(data or b"{}")
    if not isinstance(value, dict):
        raise ValueError("send a JSON object")  # noqa: TRY004  (the value of a request, not of an argument)
    return value


async def begun(turn: Awaitable[str]) -> Response:
    """The id of a turn that has begun.

    Raises:
        ValueError: Another server has the session.
    """
    with trio.move_on_after(PATIENCE):
        return JSONResponse({"turn": await turn})
    raise ValueError("this conversation is being answered by another server: try again in a minute")


async def refused(_request: Request, error: Exception) -> Response:
    """What was wrong with a request, for the page to show."""
    text = error.message if isinstance(error, allm.AllmError) else str(error)
    return JSONResponse({"error": text}, status_code=409 if isinstance(error, allm.SessionError) else 400)


def make_app(chat: Chat) -> Starlette:
    """The application."""
    page = PAGE.read_text("utf-8")
    # Nothing runs in the page but what is in the file, and it talks to this server only.
    hashes = {
        name: base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for name in ("script", "style")
        for found in re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff", "cache-control": "no-store"}

    async def index(_request: Request) -> Response:
        return Response(page, media_type="text/html", headers=headers)

    routes = [
        Route("/", index),
        Route("/sessions/{id}/events", chat.events),
        Route("/sessions/{id}/messages", chat.send, methods=["POST"]),
        Route("/sessions/{id}/decisions", chat.decide, methods=["POST"]),
        Route("/sessions/{id}/retry", chat.retry, methods=["POST"]),
        Route("/sessions/{id}/stop", chat.stop, methods=["POST"]),
    ]
    refusals = dict.fromkeys((allm.AllmError, ValueError, KeyError, TypeError), refused)
    return Starlette(routes=routes, exception_handlers=refusals)


def make_engine() -> allm.Engine:
    """The engine of ALLM_MODEL, or of the demo model."""
    model = os.environ.get("ALLM_MODEL")
    if model:
        return allm.Engine.from_model(model, tools=[pay])
    return allm.Engine(adapter=DemoModel(), tools=[pay])


async def run(engine: allm.Engine, bind: str, *, store_url: str = "memory://", **options: Any) -> None:
    """Serve the page until it is cancelled, or Hypercorn's `shutdown_trigger` ends; turns that still run are saved."""
    config = Config()
    config.bind = [bind]
    config.graceful_timeout = 0.5
    async with allm.session.open_store(store_url) as store, allm.session.host(store) as host:
        await serve(make_app(Chat(engine, store, host)), config, **options)


async def interrupted() -> None:
    """Wait for Ctrl-C, or for the end that a service manager asks for: as an exception it could hit any line."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


if __name__ == "__main__":
    bind, store_url = os.environ.get("ALLM_BIND", "127.0.0.1:8000"), os.environ.get("ALLM_STORE", "memory://")
    trio.run(lambda: run(make_engine(), bind, store_url=store_url, shutdown_trigger=interrupted))
