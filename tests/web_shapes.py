"""Turns of every shape, with their events and their result, for the tests of the web formats."""

from __future__ import annotations

import base64
import re
from typing import Any

import trio
import trio.testing

import allm
import allm.web
from allm import fake
from allm.data.content import media_of
from allm.data.json.text import parse_arguments
from allm.execution.stream.folds import ChatFold
from allm.web.frames import Frames
from turn_scripts import engine

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def picture(arguments: dict[str, Any]) -> Any:
    return ["here it is", allm.Image.from_bytes(PNG)]


async def files(arguments: dict[str, Any]) -> Any:
    kept = allm.Document.from_upload(allm.FileRef(provider="openai", id="file-1"))
    return [
        allm.Document.from_bytes(b"%PDF-1.4 a"),
        "between",
        allm.Document.from_url("https://x.test/a.pdf", "application/pdf"),
        allm.Document.from_text("a;b", "text/csv"),
        allm.Audio.from_bytes(b"RIFF....WAVE"),
        allm.Video.from_bytes(b"....ftypisom", "video/mp4"),
        *([kept] if arguments.get("kept") else []),
    ]


async def reporting(arguments: dict[str, Any], context: allm.ToolContext) -> str:
    await context.emit({"done": 1})
    return "reported"


MORE = [
    allm.Tool("picture", "T.", handler=picture),
    allm.Tool("files", "T.", handler=files),
    allm.Tool("reporting", "T.", handler=reporting),
    allm.Tool("delete", "T.", handler=picture, manual=True),
]
TRUNCATED = allm.AdapterError("The connection broke at 10.0.0.7.", reason="stream_truncated")

SCRIPTS: dict[str, list[list[Any]]] = {
    "text": [
        [fake.text("Hello "), fake.text("\u2028wörld \U0001f600\n\r\n"), fake.usage(input_tokens=3, output_tokens=2)]
    ],
    "nothing": [[]],
    "reasoning": [[fake.reasoning("Let me "), fake.reasoning("think."), fake.text("Done.")]],
    "hidden reasoning only": [[fake.reasoning("Hm.")]],
    "one tool": [[fake.text("I look."), fake.tool_call("good", {"a": 1})], [fake.text("It is 1.")]],
    "parallel tools": [
        [fake.tool_call("slow", {"a": 3}), fake.tool_call("good", {"a": 1}), fake.tool_call("slow", {"a": 1})],
        [fake.tool_call("good", {"b": 2})],
        [fake.text("All.")],
    ],
    "pieces of arguments": [[fake.tool_call_delta("c", '{"a"'), fake.tool_call_delta("c", ": 1}")], [fake.text("x")]],
    "tool errors": [
        [
            fake.tool_call("bad"),
            fake.tool_call("nope"),
            fake.tool_call("good", raw_arguments="{"),
            fake.tool_call("good"),
        ],
        [fake.text("Sorry.")],
    ],
    "ask": [[fake.text("One moment."), fake.tool_call("ask"), fake.tool_call("good", {"a": 1})]],
    "two questions": [[fake.tool_call("ask"), fake.tool_call("ask")]],
    "halt": [[fake.tool_call("halt")]],
    "manual": [[fake.text("Yours."), fake.tool_call("by_hand", {"a": 1}), fake.tool_call("good", {"a": 1})]],
    "approval": [[fake.tool_call("delete", {"a": 1}), fake.tool_call("good", {"a": 1})]],
    "failed": [[fake.text("Half an answ"), fake.error(TRUNCATED)]],
    "failed at once": [[fake.error(allm.AdapterError("no", reason="invalid_request"))]],
    "failed in a call": [[fake.text("Hm"), fake.tool_call_delta("c", '{"a": "x'), fake.error(TRUNCATED)]],
    "failed later": [[fake.tool_call("good")], [fake.reasoning("hm"), fake.error(TRUNCATED)]],
    "length": [[fake.text("Cut o"), fake.finish("length")]],
    "structured": [[fake.text('{"city": "Bonn", '), fake.text('"days": 2}')]],
    "image result": [[fake.tool_call("picture")], [fake.text("A picture.")]],
    "files in a result": [[fake.tool_call("files")], [fake.text("Files.")]],
    "progress": [[fake.tool_call("reporting")], [fake.text("ok")]],
}


def run(function: Any, *args: Any) -> Any:
    """Run on Trio, with a clock that jumps."""
    return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))


def turn(scripts: list[list[Any]], **options: Any) -> tuple[list[Any], allm.ChatResult]:
    """The events of a turn, and its result."""

    async def main() -> Any:
        tools = [*engine([]).tools, *MORE]
        async with allm.stream(engine(scripts), "go", tools=tools, **options) as events:
            return [event async for event in events], events.result()

    return run(main)


def fold(events: list[Any]) -> allm.ChatResult:
    """The result of the beginning of a turn."""
    folded = ChatFold(allm.Thread([allm.user("go")]))
    for event in events:
        folded.add(event)
    return folded.result()


def written(form: Any, events: list[Any], error: BaseException | None = None) -> bytes:
    """The bytes of events in a format."""
    frames = Frames(form)
    return b"".join([*map(frames.feed, events), frames.end(error)])


def comparable(thread: allm.Thread, *, whole_texts: bool = False) -> list[Any]:
    """What a client can know of a conversation; an error by being one.

    Args:
        whole_texts: Join the texts of a message, and put them and the calls behind the reasoning.
    """
    found: list[Any] = []
    nameless: set[str] = set()  # calls whose name never came: no client hears of them
    for message in thread.messages:
        nameless.update(call.id for call in message.tool_calls if not call.name)
        if message.role == "tool":
            if message.tool_call_id in nameless:
                continue
            content = "error" if message.is_error else [_part(part) for part in message.parts]
            found.append(["tool", _call_id(message.tool_call_id), content])
            continue
        known = [part for part in message.parts if not (isinstance(part, allm.ToolCall) and not part.name)]
        parts = [part for part in map(_part, known) if part not in _EMPTY]
        if whole_texts:
            text = "".join(part[1] for part in parts if part[0] == "text")
            kinds = [[part for part in parts if part[0] == kind] for kind in ("reasoning", "call", "image")]
            parts = [*kinds[0], *([("text", text)] if text else []), *kinds[1], *kinds[2]]
        if parts:
            found.append([message.role, parts])
    return found


_EMPTY = [None, ("text", ""), ("reasoning", "", None, None, None)]


def _part(part: Any) -> Any:
    match part:
        case allm.TextPart():
            return ("text", part.text)
        case allm.ReasoningPart():
            return ("reasoning", part.text, part.signature, part.encrypted_content, part.provider)
        case allm.ToolCall():
            raw = part.raw_arguments or ""
            arguments = dict(part.arguments) if part.arguments is not None else parse_arguments(raw)
            arguments = raw if arguments is None else arguments  # a cut may come before they are known to be whole
            return ("call", _call_id(part.id), part.name, arguments)
        case allm.ImagePart():
            return ("image", part.image.url or part.image.to_bytes())
        case allm.DocumentPart() | allm.AudioPart() | allm.VideoPart():
            media = media_of(part)
            return (media.word, media.url or media.to_bytes(), media.resolved_mime_type())
    return None


def _call_id(call_id: Any) -> str:
    """Without what tells calls apart that have the same id."""
    return re.sub(r"#\d+$", "", call_id)
