"""Speech of a text that is still arriving."""

from __future__ import annotations

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.adapters import SpokenAnswer
from allm.data.wav import WavJoin, wav_header
from allm.execution.services.sentences import LONGEST, Sentences
from allm.providers import Fake, FakeSpeech

STORY = "The first sentence is long enough. The second one is as long, too! And that is the end of it"
SAID = ["The first sentence is long enough.", "The second one is as long, too!", "And that is the end of it"]


def engine(adapter, **fields):
    return allm.Engine(speech_adapter=adapter, retry=None, **fields)


async def arriving(*pieces, error=None):
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece
    if error is not None:
        raise error


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_sentences_do_not_depend_on_the_pieces(size):
    """Of the text, which they are again."""
    text = (
        f"{STORY} 3.14 is no end, Dr. Who. Yes. 「これは最初の文であり、とても長いのです。」次の文です。\n\nNew\nline"
    )
    sentences = Sentences()
    pieces = [text[place : place + size] for place in range(0, len(text), size)]
    found = [piece for part in pieces for piece in sentences.feed(part)] + sentences.rest()
    whole = Sentences()
    assert found == whole.feed(text) + whole.rest()
    assert "".join("".join(found).split()) == "".join(text.split())
    assert found[:2] == SAID[:2]
    assert all("3.14 is no end" in piece for piece in found if "3.14" in piece)


def test_a_text_without_ends_is_split_at_spaces():
    """And one without spaces anywhere, so that speech begins."""
    words = Sentences().feed("word " * 1000)
    assert all(LONGEST / 2 < len(piece) <= LONGEST for piece in words)
    assert [len(piece) for piece in Sentences().feed("x" * (2 * LONGEST + 1))] == [LONGEST, LONGEST]


@pytest.mark.parametrize("text", ["", " \n ", "..."])
def test_short_texts(text):
    """Are said at the end; nothing but space is not said."""
    sentences = Sentences()
    assert sentences.feed(text) == []
    assert sentences.rest() == ([text] if text.strip() else [])


async def test_each_sentence_is_one_request_in_order():
    """With the settings of the call, and the audio is that of all of them."""
    adapter = FakeSpeech()
    async with allm.stream_synthesize(engine(adapter), arriving(*STORY), voice="alloy", speed=1.5) as speech:
        heard = b"".join([piece async for piece in speech])
    assert [(asked.text, asked.voice, asked.speed) for asked in adapter.requests] == [(s, "alloy", 1.5) for s in SAID]
    assert heard.decode().split() == STORY.split()
    assert speech.result().audio.data == heard
    assert speech.result().complete


async def test_synthesize_takes_such_a_text_too():
    """It is the fold."""
    speech = await allm.synthesize(engine(FakeSpeech()), arriving(*STORY))
    assert speech.audio.data.decode().split() == STORY.split()


async def test_a_models_answer_goes_in():
    """Its text is spoken while it is written."""
    adapter = FakeSpeech()
    both = engine(adapter).with_model("m")
    both = attrs.evolve(both, adapter=Fake([fake.text(STORY)]))
    async with (
        allm.stream_generate(both, "Tell me a story.") as events,
        allm.stream_synthesize(both, events.text()) as speech,
    ):
        heard = b"".join([piece async for piece in speech])
    assert heard.decode().split() == STORY.split()
    assert events.result().message.text == STORY


class Slow:
    """Says one piece for each word, and counts the requests that are open."""

    provider, requires_model = "slow", False

    def __init__(self, seconds=1.0, mime_type="audio/mpeg", fail=None):
        self.seconds, self.mime_type, self.fail = seconds, mime_type, fail
        self.open_now = self.most = 0
        self.log = []

    def prepare(self, request, _options):
        return request

    def open(self, prepared):
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def opened():
            self.open_now += 1
            self.most = max(self.most, self.open_now)
            self.log.append(("open", prepared.text, trio.current_time()))
            try:
                yield SpokenAnswer(pieces=self.pieces(prepared.text), mime_type=self.mime_type)
            finally:
                self.open_now -= 1

        return opened()

    async def pieces(self, text):
        for word in text.split():
            await trio.sleep(self.seconds)
            if self.fail is not None and self.fail in word:
                raise allm.AdapterError("broken", reason="stream_truncated", provider="slow")
            yield f"{word} ".encode()


async def test_the_next_request_is_made_while_the_former_plays(autojump_clock):
    """And no more than that: one after the next waits until the former has ended."""
    adapter = Slow()
    text = " ".join(f"Sentence number {number} has some words." for number in range(6))
    async with allm.stream_synthesize(engine(adapter), arriving(text)) as speech:
        heard = b"".join([piece async for piece in speech])
    assert heard.decode().split() == text.split()
    assert adapter.most == 2
    begun = {said: at for _, said, at in adapter.log}
    times = list(begun.values())
    assert times[1] - times[0] < 6  # before the six words of the first were heard


async def test_one_request_at_a_time_if_the_engine_says_so(autojump_clock):
    """Then each waits for the former; nothing stands still."""
    adapter = Slow()
    text = " ".join(f"Sentence number {number} has some words." for number in range(4))
    limited = engine(adapter, limiter=trio.CapacityLimiter(1))
    async with allm.stream_synthesize(limited, arriving(text)) as speech:
        heard = b"".join([piece async for piece in speech])
    assert heard.decode().split() == text.split()
    assert adapter.most == 1


async def test_nobody_who_reads_stops_the_requests(autojump_clock):
    """The text is not read to its end, either."""
    adapter = Slow(seconds=0)
    read = []

    async def endless():
        while True:
            read.append(1)
            await trio.lowlevel.checkpoint()
            yield "A sentence that is long enough. "

    async with allm.stream_synthesize(engine(adapter), endless()) as speech:
        await anext(speech)
        await trio.testing.wait_all_tasks_blocked()
        assert len(adapter.log) <= 3
        assert len(read) <= 5
    assert adapter.open_now == 0


@pytest.mark.parametrize("way", ["break", "exception", "cancel"])
async def test_every_exit_ends_everything(autojump_clock, way):
    """Before the statement after the block: the requests are closed and so is the text."""
    adapter, closed = Slow(), []

    async def text():
        try:
            for _ in range(10):
                yield "A sentence that is long enough. "
                await trio.sleep(1)
        finally:
            closed.append(True)

    class OwnError(Exception):
        pass

    caught = None
    with trio.move_on_after(4.5):
        try:
            async with allm.stream_synthesize(engine(adapter), text()) as speech:
                async for _ in speech:
                    if way == "break":
                        break
                    if way == "exception":
                        raise OwnError  # noqa: TRY301  (it has to leave the block)
        except OwnError as error:
            caught = error
    assert (adapter.open_now, closed) == (0, [True])
    assert (caught is not None) == (way == "exception")
    assert speech.result().audio.data
    assert not speech.result().complete


async def test_an_error_of_the_text_comes_after_what_was_said():
    """As it is, and the rest of an unfinished sentence is not said."""
    broken = arriving(STORY, error=KeyError("text"))
    heard = []
    with pytest.raises(KeyError, match="text"):
        async with allm.stream_synthesize(engine(FakeSpeech()), broken) as speech:
            async for piece in speech:
                heard.append(piece)
    assert b"".join(heard).decode().split() == " ".join(SAID[:2]).split()


@pytest.mark.parametrize("word", ["sentence", "second", "enough"])
async def test_a_request_that_fails(autojump_clock, word):
    """Raises where its audio would come, after all that was said before."""
    heard = []
    with pytest.raises(allm.AdapterError, match="broken"):
        async with allm.stream_synthesize(engine(Slow(fail=word)), arriving(STORY)) as speech:
            async for piece in speech:
                heard.append(piece.decode().strip())
    assert heard == STORY.split()[: STORY.split().index(next(w for w in STORY.split() if word in w))]
    assert not speech.result().complete


async def test_no_text_is_no_audio():
    """An answer of nothing but space is complete, and silent."""
    async with allm.stream_synthesize(engine(FakeSpeech()), arriving(" ", "\n")) as speech:
        assert [piece async for piece in speech] == []
    assert speech.result().complete


async def test_settings_are_checked_at_once():
    """Before there is a text."""
    with pytest.raises(allm.ValidationError):
        allm.stream_synthesize(engine(FakeSpeech()), arriving("x"), speed=-1)


def wav(samples, size=None):
    return wav_header(len(samples) if size is None else size, 24000) + samples


async def test_wav_files_become_one(autojump_clock):
    """With one header, in front; players stop at the end of a file."""

    class Wav(Slow):
        async def pieces(self, text):
            data = wav(text.encode())
            for place in range(0, len(data), 10):
                await trio.lowlevel.checkpoint()
                yield data[place : place + 10]

    speech = await allm.synthesize(engine(Wav(mime_type="audio/wav")), arriving(STORY))
    assert speech.audio.data == wav_header(None, 24000) + "".join(SAID).encode()


@pytest.mark.parametrize("size", [1, 3, 44, 1000])
def test_joined_files_do_not_depend_on_the_reads(size):
    """Nor on chunks before and behind the samples, or on lengths that were not known."""
    extra = b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    plain = wav(b"abcd")
    files = [plain, plain[:36] + extra + plain[36:] + extra, wav_header(None, 24000) + b"efgh", wav(b"ij", size=0)]
    join, found = WavJoin(), []
    for data in files:
        found += [join.feed(data[place : place + size]) for place in range(0, len(data), size)]
        found.append(join.next_file())
    assert b"".join(found) == wav_header(None, 24000) + b"abcdabcdefghij"


def test_what_is_no_wav_is_passed_on():
    """A service may call anything audio/wav."""
    join = WavJoin()
    assert join.feed(b"RIFX") + join.next_file() == b"RIFX"
    noise = b"RIFF" + bytes(8) + b"\xff" * 70_000
    assert join.feed(noise) + join.next_file() == noise
