"""WAV: raw samples as a file that players read, and several such files as one.

A RIFF file is made of chunks, each with a name of four letters and its length; the samples are in `data`. A length of
0xFFFFFFFF means that it is not known, as the file is still being written; players then read to the end.
"""

from __future__ import annotations

import struct

from allm.data.attrs_classes import define

__all__ = ["WavJoin", "wav_header"]

UNKNOWN = 0xFFFFFFFF
_RIFF_BYTES = 12
_CHUNK_HEAD = 8
_LARGEST_HEAD = 64 * 1024
"""Most bytes before the samples; a header has 44, and some writers add a title."""


def wav_header(size: int | None, rate: int, *, channels: int = 1, bits: int = 16) -> bytes:
    """The header of a WAV file, which stands before the samples.

    Args:
        size: The length of the samples in bytes; None: not known.
        rate: Samples of a channel in a second.
        channels: How many channels.
        bits: Of a sample.
    """
    length = UNKNOWN if size is None else size
    whole = UNKNOWN if size is None else size + 36
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, bits)
    return (
        b"RIFF"
        + struct.pack("<I", whole)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", length)
    )


@define(eq=False)
class WavJoin:
    """Makes one file of several that come one after the other: the header of the first, then the samples of all."""

    _head: bytes = b""  # of the present file, until its samples begin
    _inside: bool = False
    _written: bool = False
    _left: int = UNKNOWN  # samples of the present file that are still to come, in bytes

    def next_file(self) -> bytes:
        """The present file has ended; what of it was not read as WAV is returned as it is."""
        rest, self._head, self._inside, self._left = self._head, b"", False, UNKNOWN
        return rest

    def feed(self, piece: bytes) -> bytes:
        """What of a piece of the present file goes into the whole one."""
        if self._inside:
            return self._samples(piece)
        self._head += piece
        found = _samples_at(self._head)
        if found is None:
            return b"" if len(self._head) < _LARGEST_HEAD else self._give_up()
        (start, size), head = found, self._head
        self._head, self._inside = b"", True
        self._left = UNKNOWN if size == 0 else size  # 0 of a file that was still being written
        before = b""
        if not self._written:
            self._written = True
            before = head[:4] + struct.pack("<I", UNKNOWN) + head[8 : start - 4] + struct.pack("<I", UNKNOWN)
        return before + self._samples(head[start:])

    def _samples(self, piece: bytes) -> bytes:
        if self._left == UNKNOWN:
            return piece
        piece = piece[: self._left]  # chunks behind the samples, such as a title, would be heard as noise
        self._left -= len(piece)
        return piece

    def _give_up(self) -> bytes:
        rest, self._head, self._inside = self._head, b"", True
        return rest


def _samples_at(head: bytes) -> tuple[int, int] | None:
    """Where the samples begin and how long they are; None while the header is not whole or is none."""
    place = _RIFF_BYTES
    while len(head) >= place + _CHUNK_HEAD:
        name, (size,) = head[place : place + 4], struct.unpack("<I", head[place + 4 : place + 8])
        place += _CHUNK_HEAD
        if name == b"data":
            return place, size
        place += size + size % 2
    return None
