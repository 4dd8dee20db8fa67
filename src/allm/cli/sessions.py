"""`allm sessions`: the conversations in the log, or in another store."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, final

import attrs
import click
import trio

import allm
from allm.cli.chat_screen import short
from allm.cli.code_block import code_blocks
from allm.cli.log import find_id, log_store
from allm.cli.stores import NAME, is_json, store_at
from allm.cli.terminal import Terminal
from allm.cli.transcript import transcript
from allm.data.atomic_write import write_whole
from allm.session import SessionStore

__all__ = ["Part", "Sessions"]

Part = Literal["all", "response", "code"]

_PAGE = 100


@final
@attrs.frozen(eq=False)
class Sessions:
    """The conversations at a place: a file or a URL as `allm chat --session` takes it; None for the log.

    Each method runs Trio, and raises `AllmError` if the store fails and `click.ClickException` if there is no such
    conversation.
    """

    terminal: Terminal
    place: str | None

    def list(self, *, limit: int, words: Sequence[str], as_json: bool) -> int:
        """Print a line for each conversation, the newest first.

        Args:
            limit: Most lines.
            words: Only conversations whose texts have all of them.
            as_json: Print one JSON document in each line.

        Returns:
            The exit code: 1 if there is none.
        """

        async def work(store: SessionStore) -> int:
            left = limit
            page = await self._page(store, None)
            while page and left:
                for name in page:
                    session, _ = await store.load(name)
                    if left and all(word.lower() in _texts(session) for word in words):
                        left -= 1
                        shown = _json(name, session) if as_json else _line(name, session)
                        self.terminal.stdout.show(f"{shown}\n")
                page = await self._page(store, page[-1])
            if left == limit:
                self.terminal.line("No conversations." if not words else "No conversation has these words.")
            return 1 if left == limit else 0

        return self._run(work)

    def show(self, name: str, part: Part = "all") -> int:
        """Print a conversation as Markdown, or a part of it; the exit code is 1 if there is no such part."""

        async def work(store: SessionStore) -> int:
            session, _ = await store.load(await self._find(store, name))
            text = transcript(session) if part == "all" else _last_response(session)
            if part == "code":
                text = next(iter(code_blocks(text)), "")
            self.terminal.stdout.show(text)
            self.terminal.stdout.end_line()
            if not text:
                self.terminal.line("The conversation has no response." if part == "response" else "No code block.")
            return 0 if text else 1

        return self._run(work)

    def export(self, name: str, *, form: str, output: Path | None) -> int:
        """Write a conversation to a file or standard output, as `json` (`allm.from_json` reads it) or `markdown`."""

        async def work(store: SessionStore) -> int:
            session, _ = await store.load(await self._find(store, name))
            text = allm.to_json(session) + "\n" if form == "json" else transcript(session)
            if output is None:
                self.terminal.stdout.show(text)
            else:
                await trio.to_thread.run_sync(write_whole, output, text.encode())
            return 0

        return self._run(work)

    def delete(self, names: Sequence[str], *, sure: bool) -> int:
        """Delete conversations; asks first at a terminal, unless `sure`."""

        async def work(store: SessionStore) -> int:
            ids = [await self._find(store, name) for name in names]
            if not sure:
                if not self.terminal.stdin.isatty():
                    raise click.UsageError("To delete without being asked, give --yes.")
                click.confirm(f"Delete {', '.join(ids)}?", abort=True, err=True)
            for name in ids:
                await store.delete(name)
                self.terminal.line(f"Deleted {name}")
            return 0

        return self._run(work)

    def _run(self, work: Callable[[SessionStore], Awaitable[int]]) -> int:
        async def run() -> int:
            async with log_store() if self.place is None else store_at(self.place) as store:
                return await work(store)

        return trio.run(run)

    async def _page(self, store: SessionStore, after: str | None) -> Sequence[str]:
        if self.place is not None and is_json(self.place):
            return [] if after else [NAME]
        return await store.ids(limit=_PAGE, after=after, descending=True)

    async def _find(self, store: SessionStore, name: str) -> str:
        if self.place is not None and is_json(self.place):
            return NAME
        return await find_id(store, name)


def _last_response(session: allm.Session) -> str:
    answers = [message.text for message in session.thread.messages if message.role == "assistant" and message.text]
    return answers[-1] if answers else ""


def _texts(session: allm.Session) -> str:
    return "\n".join(message.text for message in session.thread.messages).lower()


def _title(session: allm.Session) -> str:
    asked = (message.text for message in session.thread.messages if message.role == "user")
    return short(next((text for text in asked if text.strip()), ""), 60)


def _line(name: str, session: allm.Session) -> str:
    count = len(session.thread.messages)
    return f"{name:<22} {session.metadata.get('model') or '-':<28} {count:>4} messages  {_title(session)}".rstrip()


def _json(name: str, session: allm.Session) -> str:
    facts: dict[str, Any] = {
        "id": name,
        "model": session.metadata.get("model"),
        "messages": len(session.thread.messages),
        "status": session.status,
        "title": _title(session),
        "turns": session.metadata.get("turns", []),
    }
    return json.dumps(facts, ensure_ascii=False, default=str)
