"""Every function that takes an engine works on the fakes: a user's tests need no network for any of them."""

from __future__ import annotations

import inspect
import types

import pytest

import allm
from allm import fake, providers
from allm.data.image import Image

PIXEL = Image.from_base64(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
SOUND = allm.Audio.from_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
MAPPED = {"aio", "blocking"}  # the same functions, compared by tests/bridge/test_facade.py
VENDORS_OWN = {"batches", "caches"}  # what vendors keep and do at their own time


def takes_an_engine(module):
    """The public functions of a module that wait, or open something that does, for an engine."""
    found = set()
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.isfunction(value) or next(iter(inspect.signature(value).parameters), None) != "engine":
            continue
        gives = str(inspect.signature(value).return_annotation)
        if inspect.iscoroutinefunction(value) or gives.startswith(("StreamBlock", "AbstractAsyncContextManager")):
            found.add(name)
    return found


def functions():
    """All of them, by their names below `allm`."""
    modules = {name: getattr(allm, name) for name in allm.__all__ if name not in MAPPED | VENDORS_OWN}
    inner = {name: module for name, module in modules.items() if isinstance(module, types.ModuleType)}
    below = {
        f"{name}.{one}"
        for name, module in inner.items()
        if hasattr(module, "__all__")
        for one in takes_an_engine(module)
    }
    return takes_an_engine(allm) | below


def engine_of(script=("Hello",)):
    """An engine with every fake."""
    return allm.Engine(
        adapter=providers.Fake(scripts=[[fake.text(text)] for text in script]),
        image_adapter=providers.FakeImages(),
        embedding_adapter=providers.FakeEmbeddings(),
        moderation_adapter=providers.FakeModeration(),
        rerank_adapter=providers.FakeRerank(),
        speech_adapter=providers.FakeSpeech(),
        transcription_adapter=providers.FakeTranscription(["heard"]),
    )


async def begun(engine):
    """A session after a turn."""
    session, _ = await allm.session.start(engine, "Hi", id="s1")
    return session


async def file_of(engine):
    """A file that is kept."""
    return await allm.files.upload(engine, b"kept", filename="a.txt")


async def waiting(engine):
    """A session whose next step is due."""
    session = await begun(engine)
    return allm.session.append_user(session, "And now?")


def whole(found):
    """What was found, as it is."""
    return found


def output_text(found):
    """The text of an answer."""
    return found.output_text


def response_text(found):
    """The text of the answer of a step."""
    return found.response.output_text


# Each calls the function with an engine, the function and a folder, and gives what is to be compared; then what it is.
CALLS = {
    "bulk": (
        lambda call, engine, _: items(call(engine, ["Hi"])),
        lambda found: found[0].response.output_text,
        "Hello",
    ),
    "chat": (lambda call, engine, _: call(engine, "Hi"), output_text, "Hello"),
    "classify": (
        lambda call, engine, _: call(engine, "Hi", {"greets": bool}),
        lambda found: found.answers["greets"],
        True,
    ),
    "count_tokens": (lambda call, engine, _: call(engine, "Hi"), lambda found: found.tokens > 0, True),
    "edit_image": (lambda call, engine, _: call(engine, PIXEL, "red"), lambda found: len(found.images), 1),
    "embed": (lambda call, engine, _: call(engine, ["a", "b"]), lambda found: len(found.vectors), 2),
    "generate": (lambda call, engine, _: call(engine, "Hi"), output_text, "Hello"),
    "generate_image": (lambda call, engine, _: call(engine, "a fox"), lambda found: len(found.images), 1),
    "image_variations": (lambda call, engine, _: call(engine, PIXEL), lambda found: len(found.images), 1),
    "list_models": (lambda call, engine, _: call(engine), lambda found: [model.id for model in found], ["fake"]),
    "moderate": (lambda call, engine, _: call(engine, "kill"), lambda found: found.flagged, True),
    "rerank": (lambda call, engine, _: call(engine, "fox", ["cow", "fox"]), lambda found: found.documents[0], "fox"),
    "run_shard": (
        lambda call, engine, folder: call(engine, ["Hi"], journal=f"{folder}/run.sqlite", run="r"),
        lambda found: found.done,
        1,
    ),
    "step": (lambda call, engine, _: call(engine, "Hi"), response_text, "Hello"),
    "stream": (lambda call, engine, _: read(call(engine, "Hi")), output_text, "Hello"),
    "stream_embed": (lambda call, engine, _: items(call(engine, ["a"])), len, 1),
    "stream_generate": (lambda call, engine, _: read(call(engine, "Hi")), output_text, "Hello"),
    "stream_step": (
        lambda call, engine, _: read(call(engine, "Hi")),
        response_text,
        "Hello",
    ),
    "stream_synthesize": (
        lambda call, engine, _: read(call(engine, "Say it.")),
        lambda found: found.audio.to_bytes(),
        b"Say it. ",
    ),
    "stream_transcribe": (lambda call, engine, _: read(call(engine, SOUND)), lambda found: found.text, "heard"),
    "synthesize": (lambda call, engine, _: call(engine, "Hi"), lambda found: found.audio.to_bytes(), b"Hi "),
    "transcribe": (lambda call, engine, _: call(engine, SOUND), lambda found: found.text, "heard"),
    "warm_up": (lambda call, engine, _: call(engine), whole, None),
    "files.delete": (lambda call, engine, _: on_file(call, engine), whole, None),
    "files.download": (
        lambda call, engine, folder: on_file(call, engine, folder / "b.txt"),
        lambda found: found.read_bytes(),
        b"kept",
    ),
    "files.get": (lambda call, engine, _: on_file(call, engine), lambda found: found.filename, "a.txt"),
    "files.list": (lambda call, engine, _: call(engine), whole, ()),
    "files.read": (lambda call, engine, _: on_file(call, engine), whole, b"kept"),
    "files.upload": (lambda call, engine, _: call(engine, b"kept"), lambda found: found.size, 4),
    "session.continue_": (lambda call, engine, _: on_session(call, engine, "And now?"), whole, "Again"),
    "session.reply": (lambda call, engine, _: on_session(call, engine, "And now?"), whole, "Again"),
    "session.start": (lambda call, engine, _: call(engine, "Hi"), lambda found: found[1].output_text, "Hello"),
    "session.step": (lambda call, engine, _: on_session(call, engine), whole, "Again"),
    "session.stream_continue": (
        lambda call, engine, _: on_session(call, engine, "And now?"),
        whole,
        "Again",
    ),
    "session.stream_reply": (
        lambda call, engine, _: on_session(call, engine, "And now?"),
        whole,
        "Again",
    ),
    "session.stream_start": (
        lambda call, engine, _: read(call(engine, "Hi")),
        output_text,
        "Hello",
    ),
    "session.stream_step": (lambda call, engine, _: on_session(call, engine), whole, "Again"),
}
ANSWERS = {"classify": ['{"greets": true}']}


async def read(block):
    """The result of a stream that is read to its end."""
    async with block as events:
        async for _ in events:
            pass
        return events.result()


async def items(block):
    """What comes of a stream."""
    async with block as coming:
        return [item async for item in coming]


async def on_file(call, engine, *arguments):
    """Call a function with a file that is kept."""
    return await call(engine, await file_of(engine), *arguments)


async def on_session(call, engine, *arguments):
    """The answer of a function that goes on with a session."""
    session = await begun(engine) if arguments else await waiting(engine)
    found = call(engine, session, *arguments)
    result = (await found)[1] if inspect.iscoroutine(found) else await read(found)
    return getattr(result, "response", result).output_text


def test_none_is_forgotten():
    """A function that is added works on the fakes, and is in the table."""
    assert CALLS.keys() == functions()


@pytest.mark.parametrize("name", CALLS)
async def test_it_works_on_the_fakes(name, tmp_path):
    """Without a key, a model, or a network."""
    module, _, last = name.rpartition(".")
    call = getattr(getattr(allm, module) if module else allm, last)
    work, seen, expected = CALLS[name]
    found = await work(call, engine_of(ANSWERS.get(name, ["Hello", "Again"])), tmp_path)
    assert seen(found) == expected
