"""The part of the demo that a real model plays, on this machine: an answer, one of a type, and a cancelled one."""

from __future__ import annotations

from typing import final

import attrs
import trio

import allm
from allm.cli.demo_screen import Screen
from allm.cli.terminal import Terminal
from allm.providers.local.server import check_installed
from allm.providers.local.weights import KNOWN, file_of

__all__ = ["MODEL", "RealModel"]

MODEL = "smollm2-135m"
_SHOWN = 24  # tokens of the answer that is cancelled


@attrs.frozen
class City:
    """What the second question asks for."""

    name: str
    country: str
    is_capital: bool


@final
@attrs.frozen(eq=False)
class RealModel:
    """Plays its scenes on a screen."""

    terminal: Terminal
    screen: Screen

    async def play(self) -> None:
        """Fetch the weights if they are not there, and play every scene.

        Raises:
            EngineError, AdapterError, OSError: There is no model on this machine, and why.
        """
        check_installed()
        await self._fetch()
        self.screen.format(f"{MODEL}: a model on this machine")
        # The same words every time; a penalty for repetition, which so small a model is prone to.
        engine = allm.Engine.from_model(f"local:{MODEL}", params={"temperature": 0, "seed": 1, "max_tokens": 120})
        await self._answer(engine.with_params({"repeat_penalty": 1.2}))
        await self._typed(engine)
        await self._cancelled(engine)

    async def _fetch(self) -> None:
        from allm.cli.weights import fetch

        weights = KNOWN[MODEL]
        try:
            file_of(MODEL)
        except allm.EngineError:
            self.terminal.line(
                f"A real model: {MODEL}, {weights.size / 10**6:.0f} MB, {weights.license}. It is kept for the next "
                "time; --scripted does without."
            )
        await fetch(self.terminal, MODEL)

    async def _answer(self, engine: allm.Engine) -> None:
        question = "Explain in two sentences what a computer program is."
        self.screen.question(1, "A real answer streams", question)
        began = first = trio.current_time()
        async with allm.stream_generate(engine, question) as events:
            async for event in events:
                if isinstance(event, allm.TextDelta) and first == began:
                    first = trio.current_time()
                self.screen.event(event)
        seconds = trio.current_time() - first
        tokens = _checked(events.result()).usage.output_tokens or 0
        speed = f"{tokens} tokens, the first one after {first - began:.1f} s, {tokens / seconds:.0f} a second"
        self.screen.note(f"{speed} ({events.result().finish_reason})")

    async def _typed(self, engine: allm.Engine) -> None:
        question = "Which city is the capital of France?"
        self.screen.question(2, "An answer of a type: a grammar leaves the model nothing else", question)
        async with allm.stream_generate(engine, question, response_format=City) as events:
            async for event in events:
                self.screen.event(event)
        self.screen.note(f"parsed: {_checked(events.result()).parsed()!r}")

    async def _cancelled(self, engine: allm.Engine) -> None:
        question = "Tell me a long story about a lighthouse."
        self.screen.question(3, "An answer is cancelled, and the model stops", question)
        async with allm.stream_generate(engine, question) as events:
            with trio.CancelScope() as scope:
                count = 0
                async for event in events:
                    self.screen.event(event)
                    count += isinstance(event, allm.TextDelta)
                    if count == _SHOWN:
                        scope.cancel()
        kept = len(_checked(events.result()).output_text)
        self.screen.note(f"cancelled after {_SHOWN} pieces; kept: the {kept} characters that had arrived")


def _checked(response: allm.Response) -> allm.Response:
    if response.error is not None:
        raise response.error
    return response
