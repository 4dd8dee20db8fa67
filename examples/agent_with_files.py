"""An agent that reads and changes files of one folder, and asks before it writes.

    python examples/agent_with_files.py FOLDER "What is in here?" [--yes]

Reading tools run at once and side by side. The tool that writes has `manual=True`: the turn stops, the program shows
what the model wants to write, and the session goes on with a yes or a no.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import demo
import trio

import allm
from allm import fake

INSTRUCTIONS = "You work on the files of one folder. Look before you write. Say in a sentence what you have done."


def tools_of(folder: Path) -> list[allm.Tool]:
    """The tools for a folder; none of them leaves it."""

    def inside(name: str) -> Path:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise allm.ToolError(f"{name} is outside the folder", reason="invalid_arguments")
        return path

    @allm.tool
    def list_files() -> list[str]:
        """List the files of the folder."""
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    @allm.tool
    def read_file(name: str) -> str:
        """Read a file.

        Args:
            name: As `list_files` has it.
        """
        return inside(name).read_text("utf-8")[:20_000]

    @allm.tool(manual=True)
    def write_file(name: str, content: str) -> str:
        """Write a file; what it had before is replaced."""
        inside(name).write_text(content, "utf-8")
        return f"{name} has {len(content)} characters"

    return [list_files, read_file, write_file]


def plan(asked: demo.Asked) -> list[object]:
    """The demo model looks, reads its notes if it has any, and then writes a title over the text."""
    match len(asked.results):
        case 0:
            return [fake.tool_call("list_files", {})]
        case 1 if '"notes.md"' not in asked.results[0]:
            return [fake.text(f"I see {asked.results[0]}, and no notes.md to work on.")]
        case 1:
            return [fake.tool_call("read_file", {"name": "notes.md"})]
        case 2:
            return [fake.tool_call("write_file", {"name": "notes.md", "content": "# Notes\n\n" + asked.results[1]})]
        case _:
            return [fake.text(f"Done: {asked.results[-1]}.")]


async def main(folder: Path, question: str, *, yes: bool) -> None:
    """Ask, and approve what is to be written."""
    async with demo.engine(plan) as engine:
        engine = engine.with_tools(*tools_of(folder))
        prompt = [allm.system(INSTRUCTIONS), allm.user(question)]
        session, result = await allm.session.start(engine, prompt, id="agent")
        while session.status == "awaiting_tools":
            for call in session.pending_tool_calls:
                print(f"The model wants: {call.name} {call.raw_arguments}")
                if yes or (await ask("Allow it? [y/N] ")).lower().startswith("y"):
                    session = allm.session.approve(session, call.id, shown=allm.session.fingerprint(call))
                else:
                    session = allm.session.deny(session, call.id, "The user does not want that.")
            session, result = await allm.session.continue_(engine, session)
        print(allm.unwrap(result))


async def ask(question: str) -> str:
    """What the user types, nothing if nobody is there; Trio goes on meanwhile."""
    try:
        return await trio.to_thread.run_sync(input, question, abandon_on_cancel=True)
    except EOFError:
        return ""


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--yes"]
    if given:
        if not Path(given[0]).is_dir():
            sys.exit(f"{given[0]} is no folder")
        trio.run(lambda: main(Path(given[0]), " ".join(given[1:]) or "What is in here?", yes="--yes" in sys.argv))
    else:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "notes.md").write_text("Buy milk.\n", "utf-8")
            trio.run(lambda: main(Path(name), "Put a title over my notes.", yes=True))
            print((Path(name) / "notes.md").read_text("utf-8"))
