"""`-f` and `-a`: files, folders and URLs that go to the model with the prompt.

A text is sent with its name, in a fence that is longer than any in it, so that the model knows where it ends.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import final

import attrs
import click

import allm
from allm.cli.attachments import media_in
from allm.cli.folder import Skipped, files_in
from allm.cli.inputs import content_of, kind_of, only
from allm.cli.standard_input import LARGEST_INPUT, StandardInput, size_text
from allm.cli.terminal import Terminal
from allm.cli.web_page import Page, fetch
from allm.data.image_header import sniff_mime

__all__ = ["Files", "fenced"]

LARGEST_IN_FOLDER = 1_000_000
"""Most bytes of a file that a folder brings along; a larger one is sent where it is named itself."""
_WEB = ("http://", "https://")
_HEAD = 8192  # bytes in which a null byte means that a file is no text, as for git and grep
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FENCES = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)


@final
@attrs.define(eq=False)
class Files:
    """What `-f` brings along: texts in the order given, and what is no text but can be sent.

    Attributes:
        size: Bytes of text so far.
    """

    _terminal: Terminal
    _stdin: StandardInput
    texts: list[str] = attrs.field(factory=list[str], init=False)
    attached: list[allm.Media] = attrs.field(factory=list[allm.Media], init=False)
    size: int = attrs.field(default=0, init=False)

    def add(self, place: str, option: str = "-f") -> None:
        """Read a file, a folder, a URL, or standard input (`-`).

        Raises:
            click.BadParameter: It cannot be read or sent, or all of them together are too long.
            click.ClickException: A URL cannot be fetched.
        """
        if not place:
            raise click.BadParameter("the name of the file is empty", param_hint=f"'{option}'")
        if place != "-" and not place.startswith(_WEB) and Path(place).is_dir():
            self._add_folder(Path(place), option)
            return
        page = self._read(place, option)
        if _text(page.data) is None and (found := media_in(page.url, page.data)) is not None:
            self.attached.append(found)
        else:
            self._add_text(page.url, _text_of(page, option, "texts, images, documents, audio and videos"), option)

    def text(self, place: str, option: str) -> str:
        """The text of a file, a URL, or standard input (`-`), which is not added.

        Raises:
            click.BadParameter, click.ClickException: As for `add`.
        """
        return _text_of(self._read(place, option), option, "texts")

    def _read(self, place: str, option: str) -> Page:
        if place == "-":
            return Page("standard input", self._stdin.data(f"{option} -"))
        if place.startswith(_WEB):
            return fetch(place, LARGEST_INPUT)
        return Page(place, content_of(place, LARGEST_INPUT, option))

    def _add_folder(self, folder: Path, option: str) -> None:
        skipped = Skipped()
        found = False
        for path in files_in(folder):
            data = self._in_folder(path, skipped)
            text = None if data is None else _text(data)
            if text is not None:
                found = True
                self._add_text(str(path), text, option)
            elif data is not None:
                skipped.binary += 1
        if not found:
            raise click.BadParameter(f"{folder} has no text files{skipped.in_brackets()}", param_hint=f"'{option}'")
        if skipped:
            self._terminal.line(f"Note: of {folder} {skipped}", dim=True)

    def _in_folder(self, path: Path, skipped: Skipped) -> bytes | None:
        try:
            if path.stat().st_size > LARGEST_IN_FOLDER:
                skipped.large += 1
                return None
            return path.read_bytes()
        except OSError:
            skipped.unreadable += 1
            return None

    def _add_text(self, name: str, text: str, option: str) -> None:
        self.size += len(text.encode("utf-8", "surrogatepass"))
        if self.size > LARGEST_INPUT:
            raise click.BadParameter(
                f"with {name}, the files are longer than {size_text(LARGEST_INPUT)}, more than any model reads: name "
                "fewer of them",
                param_hint=f"'{option}'",
            )
        self.texts.append(fenced(name, text))


def fenced(name: str, text: str) -> str:
    """The text with its name, in a fence."""
    ticks = "`" * max([len(run) + 1 for run in _FENCES.findall(text)], default=3)
    suffix = Path(name).suffix[1:]
    language = suffix if suffix.isalnum() and "://" not in name else ""
    ended = text if text.endswith("\n") or not text else f"{text}\n"
    shown = name.encode("utf-8", "replace").decode()  # bytes that are no text in the terminal's encoding
    return f"{shown}\n{ticks}{language}\n{ended}{ticks}"


def _text_of(page: Page, option: str, what: str) -> str:
    text = _text(page.data)
    if text is None:
        kind = kind_of(page.url, page.data) or page.mime_type
        problem = f"{page.url} is {kind or 'not UTF-8 text'}; {only(what, kind)}"
        raise click.BadParameter(problem, param_hint=f"'{option}'")
    return text


def _text(data: bytes) -> str | None:
    """The text, which is UTF-8 or begins with the mark of UTF-16; None if it is not one."""
    if sniff_mime(data) is not None or (b"\0" in data[:_HEAD] and not data.startswith(_UTF16)):
        return None
    try:
        return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError:
        return None
