"""`allm replay`: show the exchanges in a cassette, decoded by the adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final
from urllib.parse import urlsplit

import attrs
import trio

import allm
from allm.cli.chat_screen import TurnScreen, call_text
from allm.cli.exit_codes import SUCCESS, describe
from allm.cli.terminal import Terminal
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Cassette
from allm.testing.cassette import played_by
from allm.testing.tape import Exchange

__all__ = ["Replay"]

_ADAPTERS: dict[str, Callable[[], Any]] = {
    "/chat/completions": lambda: OpenAI(api_key="replayed", endpoint="chat_completions"),
    "/responses": lambda: OpenAI(api_key="replayed", endpoint="responses"),
    "/messages": lambda: Anthropic(api_key="replayed"),
    ":streamGenerateContent": lambda: Gemini(api_key="replayed"),
}
"""The adapter for an exchange, by the end of the URL's path."""


@final
@attrs.define(eq=False)
class Replay:
    """Shows every exchange: the response on standard output, everything else on standard error."""

    terminal: Terminal
    cassette: Cassette

    def run(self) -> int:
        """Show all exchanges, and return the exit code.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            OSError: The output failed.
        """
        trio.run(self._show)
        return SUCCESS

    async def _show(self) -> None:
        for exchange in self.cassette.exchanges:
            self.terminal.line(f"{exchange.method} {exchange.url}: {exchange.status or 'no response'}", dim=True)
            path = urlsplit(exchange.url).path
            adapter = next((make() for end, make in _ADAPTERS.items() if path.endswith(end)), None)
            if adapter is None:
                size = sum(map(len, exchange.pieces))
                self.terminal.line(f"{size} bytes of {exchange.headers.get('content-type', 'no type')}", dim=True)
            else:
                await self._read(adapter, exchange)
            self.terminal.stdout.end_line()

    async def _read(self, adapter: Any, exchange: Exchange) -> None:
        screen = TurnScreen(self.terminal)

        async def emit(*events: allm.Event) -> None:
            for event in events:
                await screen.event(event)
                if isinstance(event, allm.ToolCallCompleted):
                    self.terminal.line(
                        f"* {call_text(allm.ToolCall(event.id, event.name, event.arguments, event.raw_arguments))}",
                        dim=True,
                    )
                elif isinstance(event, allm.Failed):
                    self._failed(event.error)

        request = allm.request("replayed", model="replayed", max_tokens=1)  # never sent; only the response is read
        with played_by(lambda method, url, body: exchange):  # noqa: ARG005
            try:
                await adapter.stream(adapter.prepare(request, allm.adapters.AdapterOptions()), emit)
            except allm.AllmError as error:
                self._failed(error)

    def _failed(self, error: allm.AllmError) -> None:
        self.terminal.line(f"Error: {describe(error)}")
