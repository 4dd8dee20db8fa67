"""`-a`: files that go to the model as they are, as an image, a document, audio or a video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import click

import allm
from allm.cli.inputs import content_of, kind_of
from allm.cli.standard_input import StandardInput
from allm.data.image_header import HEAD_BYTES, sniff_mime

__all__ = ["attachments_of", "media_in"]

LARGEST_PIPE = 50_000_000
"""Most bytes of an attachment that is not a file, and so is in memory. What a provider takes is its own to say."""
KINDS: tuple[type[allm.Media], ...] = (allm.Image, allm.Video, allm.Audio, allm.Document)
"""In the order in which they are asked: a name such as `.mp4` is that of a video before that of audio."""
_WEB = ("http://", "https://")
_YOUTUBE = frozenset({"www.youtube.com", "youtube.com", "m.youtube.com", "youtu.be"})
_LONGEST_SHOWN = 64  # characters of a value in an error


def attachments_of(places: Iterable[str], option: str = "-a", stdin: StandardInput | None = None) -> list[allm.Media]:
    """Files, standard input (`-`), http(s) URLs, which the provider fetches, and data URIs.

    Raises:
        click.BadParameter: One cannot be read, or is of no kind that can be sent.
    """
    return [_attachment(place, option, stdin) for place in places]


def media_in(name: str, data: bytes) -> allm.Media | None:
    """What these bytes are, by themselves or by their name; None if they are of no kind that can be sent."""
    kind = _kind(name, data[:HEAD_BYTES])
    if kind is None or not data:
        return None
    mime_type = kind._named(name)
    found = kind.from_bytes(data, mime_type)
    # The provider learns a name that tells the type; else it gets one that does.
    return found if mime_type is None else attrs.evolve(found, name=_file_name(name))


def _file_name(place: str) -> str:
    path = unquote(urlsplit(place).path) if place.startswith(_WEB) else place
    return Path(path).name


def _attachment(place: str, option: str, stdin: StandardInput | None) -> allm.Media:
    if place.startswith(_WEB):
        parts = urlsplit(place)
        named = (kind for kind in KINDS if kind._named(parts.path) is not None)
        return next(named, allm.Video if parts.hostname in _YOUTUBE else allm.Image).from_url(place)
    if place.startswith("data:"):
        return _inline(place, option)
    name, found = place, None
    if place == "-" and stdin is not None:
        name = "standard input"
        data = stdin.data(f"{option} -")
        found = media_in(name, data)
    elif Path(place).is_file():
        data = content_of(place, HEAD_BYTES, option, whole=False)
        kind = _kind(place, data)
        found = kind.from_file(place) if kind is not None and data else None
    else:  # a pipe, as a shell makes them
        data = content_of(place, LARGEST_PIPE, option)
        found = media_in(place, data)
    if found is None:
        what = (kind_of(name, data) or "of no known type") if data else "empty"
        raise click.BadParameter(f"{name} is {what}; {_SENT}", param_hint=f"'{option}'")
    return found


_SENT = "only images, documents, audio and videos can be sent"


def _kind(name: str, head: bytes) -> type[allm.Media] | None:
    """Images tell their type whatever their name says; of the others the name says more."""
    if (sniff_mime(head) or "").startswith("image/"):
        return allm.Image
    if sniff_mime(head) == "application/pdf":
        return allm.Document
    for kind in KINDS:
        if kind._named(name) is not None and (kind is not allm.Document or _is_document(name)):
            return kind
    if head[:1] == b"\xff":  # by its first two bytes alone, anything could be a part of an MP3 file
        return None
    return next((kind for kind in (allm.Audio, allm.Video, allm.Document) if kind._sniff(head) is not None), None)


def _is_document(name: str) -> bool:
    """Of the many types of files that have a name, those that a model may read."""
    mime_type = allm.Document._named(name) or ""
    return mime_type in allm.Document._extensions.values() or mime_type.startswith("text/")


def _inline(uri: str, option: str) -> allm.Media:
    family = uri[5:].partition("/")[0].lower()
    kinds: dict[str, type[allm.Media]] = {"image": allm.Image, "audio": allm.Audio, "video": allm.Video}
    try:
        return kinds.get(family, allm.Document).from_data_uri(uri)
    except allm.ValidationError as error:
        shown = uri if len(uri) <= _LONGEST_SHOWN else f"{uri[:_LONGEST_SHOWN]}..."
        raise click.BadParameter(f"{shown}: {error.problem}", param_hint=f"'{option}'") from error
