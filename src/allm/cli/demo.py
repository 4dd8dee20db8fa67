"""`allm demo`: a real model on this machine, and real HTTP, wire formats and adapters with a scripted one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import attrs
import trio

import allm
from allm.cli.demo_screen import Screen, sequence
from allm.cli.demo_script import FORMATS, SCENES, Scene, reply
from allm.cli.exit_codes import FAILURE, SUCCESS
from allm.cli.terminal import Terminal
from allm.testing import WireServer
from allm.testing.wire_formats import Provider

__all__ = ["Demo", "play"]


@final
@attrs.frozen(eq=False)
class Demo:
    """Plays every scene in the formats that are asked for.

    Attributes:
        formats: Names of wire formats; the first one is played at the pace of a model.
        scripted: Play the scripted responses alone.
    """

    terminal: Terminal
    fast: bool = attrs.field(default=False, kw_only=True)
    formats: tuple[str, ...] = attrs.field(default=(next(iter(FORMATS)),), kw_only=True)
    scripted: bool = attrs.field(default=True, kw_only=True)

    def run(self) -> int:
        """Run the demo, and return the exit code.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        with _without_proxy():
            try:
                return trio.run(self._show)
            except BaseExceptionGroup as group:
                if group.subgroup(KeyboardInterrupt) is not None:
                    raise KeyboardInterrupt from None
                raise

    async def _show(self) -> int:
        screen = Screen(self.terminal.stdout)
        as_scripted = True
        model = None if self.scripted else await self._play_real(screen)
        async with WireServer() as server:
            screen.opening(server.base_url)
            first: list[str] = []
            for form in (FORMATS[name] for name in self.formats):
                screen.format(form.title)
                # The first format is played at the pace of a model, to show streaming; the others are fast.
                turns = await play(form.wire, form.engine(server), server, screen, fast=self.fast or bool(first))
                saw = [sequence(events) for _, events, _ in turns]
                if not first:
                    first = saw
                    screen.summary([(scene.label, events) for scene, events, _ in turns], [r.usage for *_, r in turns])
                else:
                    screen.compared(same=saw == first)
                as_scripted &= saw == first and all(result.halted_reason == scene.ends for scene, _, result in turns)
        others = [name for name in FORMATS if name not in self.formats]
        screen.closing(_command(), others, model, as_scripted=as_scripted)
        return SUCCESS if as_scripted else FAILURE

    async def _play_real(self, screen: Screen) -> str | None:
        """Play the part of the model on this machine, and return its name; None if there is none."""
        from allm.cli.demo_local import MODEL, RealModel

        try:
            await RealModel(self.terminal, screen).play()
        except (allm.AllmError, OSError) as error:
            self.terminal.line(f"Without a real model: {error}")
            return None
        self.terminal.stdout.write("\n")
        return MODEL


Played = tuple[Scene, list[allm.Event], allm.ChatResult]


async def play(wire: Provider, engine: allm.Engine, server: WireServer, screen: Screen, *, fast: bool) -> list[Played]:
    """Play every scene in the format `wire`, with responses of `server` that `engine` reads.

    Returns:
        Each scene, with the events that the program saw and their result.
    """
    played: list[Played] = []
    for number, scene in enumerate(SCENES, 1):
        server.add(*(reply(wire, script, fast=fast) for script in scene.responses))
        screen.question(number, scene.title, scene.question)
        seen: list[allm.Event] = []
        async with allm.stream(engine, scene.question) as events:
            async for event in events:
                seen.append(event)
                screen.event(event)
        result = events.result()
        screen.ended(result)
        played.append((scene, seen, result))
    return played


def _command() -> str:
    """How to run the program from where the user is: by its name, if the shell finds that, else with this Python."""
    if shutil.which("allm"):
        return "allm"
    python = os.path.relpath(sys.executable)
    return f"{sys.executable if python.startswith('..') else python} -m allm"


@contextmanager
def _without_proxy() -> Generator[None, None, None]:
    """Connect to this machine directly, even if HTTP_PROXY is set."""
    before = os.environ.get("NO_PROXY")
    os.environ["NO_PROXY"] = "127.0.0.1" if before is None else f"{before},127.0.0.1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NO_PROXY"]
        else:
            os.environ["NO_PROXY"] = before
