"""Parts of a transcript as services send them, and segments for those that tell speakers by the word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from allm.data.attrs_classes import frozen
from allm.data.json.text import as_text

__all__ = ["TranscriptionPart", "as_number", "speaker_turns", "transcription_part"]


@frozen(kw_only=True)
class TranscriptionPart:
    """A segment or a word.

    Attributes:
        text: What was said.
        start, end: Seconds from the beginning.
        speaker: The speaker as the provider calls them (`A`, `0`, `speaker_1`), if the model distinguishes them.
    """

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


def as_number(value: Any) -> float | None:
    """The number, such as a time in seconds; None for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def transcription_part(item: dict[str, Any], text: str, speaker: str = "speaker") -> TranscriptionPart:
    """A segment or a word that an object with `start` and `end` describes.

    Args:
        text, speaker: Its keys of the text and of the speaker, who may have a number for a name.
    """
    name = item.get(speaker)
    return TranscriptionPart(
        text=as_text(item.get(text)) or "",
        start=as_number(item.get("start")),
        end=as_number(item.get("end")),
        speaker=str(name) if type(name) is int else as_text(name),
    )


def speaker_turns(text: str, words: Sequence[TranscriptionPart]) -> tuple[TranscriptionPart, ...]:
    """One segment for each time that somebody speaks; none where no word has a speaker.

    Args:
        text: The whole transcript, of which the segments are cut: it has the spaces and marks between words.
        words: In their order.
    """
    if all(word.speaker is None for word in words):
        return ()
    turns: list[TranscriptionPart] = []
    place = 0
    for speaker, group in groupby(words, key=lambda word: word.speaker):
        said = list(group)
        begin, end = _span(text, said, place)
        found = text[begin:end] if end else " ".join(word.text for word in said)
        place = end or place
        turns.append(TranscriptionPart(text=found, start=said[0].start, end=said[-1].end, speaker=speaker))
    return tuple(turns)


def _span(text: str, words: Sequence[TranscriptionPart], place: int) -> tuple[int, int]:
    """Where the words stand in the text from `place` on; an end of 0 if one of them is not in it."""
    begin = end = -1
    for word in words:
        at = text.find(word.text, place)
        if at < 0:
            return 0, 0
        begin = at if begin < 0 else begin
        place = end = at + len(word.text)
    return begin, end
