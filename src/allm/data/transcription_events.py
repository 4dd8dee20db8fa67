"""What a streamed transcription consists of."""

from __future__ import annotations

from allm.data.attrs_classes import frozen
from allm.data.speech import Transcription
from allm.data.transcript_parts import TranscriptionPart

__all__ = ["TranscriptionCompleted", "TranscriptionDelta", "TranscriptionEvent", "TranscriptionSegment"]


@frozen
class TranscriptionDelta:
    """More text of a streamed transcription."""

    text: str


@frozen
class TranscriptionSegment:
    """A whole segment of a streamed transcription, with its times and its speaker where the model tells them."""

    segment: TranscriptionPart


@frozen
class TranscriptionCompleted:
    """The end of a streamed transcription, with all of it."""

    transcription: Transcription


TranscriptionEvent = TranscriptionDelta | TranscriptionSegment | TranscriptionCompleted
"""What a streamed transcription consists of; `TranscriptionCompleted` is the last."""
