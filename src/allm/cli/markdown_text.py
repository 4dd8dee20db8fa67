"""Show a model's Markdown while it arrives: words at once, lines of code when they are whole, tables at their end.

Theory of operation. The text is read line by line, as models write it: a paragraph is one line of source. A line is
`undecided` first (two asterisks may begin a word in bold or a rule), then it is of a kind, and its words are passed on
to the `Flow` as soon as nothing that follows can change them. A line of the source begins a line here, so a poem is a
poem. What is not understood is shown as it is: nothing is left out.
"""

from __future__ import annotations

import re
from typing import final

import attrs
import trio

from allm.cli.markdown_code import Highlighter
from allm.cli.markdown_flow import Flow
from allm.cli.markdown_inline import Run, certain, preview, runs
from allm.cli.markdown_table import is_delimiter, table_text
from allm.cli.terminal import Output, visible
from allm.cli.text_display import TextDisplay

__all__ = ["MarkdownText"]

_DIM = "2"
_HEADINGS = {1: "1;4", 2: "1"}
_OTHER_HEADING = "1;3"

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([^`]*)$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?: +|$)")
_ITEM = re.compile(r"^(\s*)([-*+]|\d{1,9}[.)])( +)(?=\S)(?:\[([ xX])\] +)?")
_QUOTE = re.compile(r"^\s{0,3}((?:> ?)+)")
_RULE = re.compile(r"^ {0,3}(?:(?:\*[ ]*){3,}|(?:-[ ]*){3,}|(?:_[ ]*){3,})$")
_TABLE = re.compile(r"^ {0,3}\|")
# The beginning of a line that could still be of another kind than a paragraph.
_UNDECIDED = re.compile(r"^\s*(?:> ?)*\s*(?:`{1,2}|~{1,2}|#{1,6} *|[-*_ ]*|\+ *|\d{1,9}[.)]? *|[-*+] +\[[ xX]?\]? *)?$")
_INDENT = re.compile(r"^\s*")
_PLAIN = re.compile(r"[^\s`*_\[\]<>!&~$\\]+")  # a word that stays as it is, however it goes on
_LONGEST_LINE = 2000  # characters of a line under way that are kept, to be highlighted or put into a table
_BOXES = {" ": "☐ ", "x": "☑ ", "X": "☑ "}


@final
@attrs.define(eq=False)
class MarkdownText(TextDisplay):
    """Markdown, rendered."""

    _output: Output
    _flow: Flow = attrs.field(init=False)
    _source: str = attrs.field(default="", init=False)  # of the line under way, without what is shown for good
    _begun: bool = attrs.field(default=False, init=False)  # the kind of the line is decided
    _held: str = attrs.field(default="", init=False)
    _is_long: bool = attrs.field(default=False, init=False)  # the line is code that is not kept
    _style: str = attrs.field(default="", init=False)
    _fence: str = attrs.field(default="", init=False)  # the characters that end the code
    _code: Highlighter | None = attrs.field(default=None, init=False)
    _rows: list[str] = attrs.field(factory=list[str], init=False)  # of a table, or of what may be one
    _blank: bool = attrs.field(default=True, init=False)  # the last line was
    _in_list: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._flow = Flow(self._output)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C between two statements would leave half of them done
    def show(self, text: str) -> None:
        """Show more of an answer."""
        if not text:
            return
        self._output.taken += len(text)
        text, self._held = self._held + text, ""
        if text.endswith("\r"):  # the half of a line end
            text, self._held = text[:-1], "\r"
        first, *others = visible(text.replace("\r\n", "\n")).split("\n")
        self._source += first
        for line in others:
            self._line()
            self._source = line
        self._under_way()

    def end(self) -> None:
        """End the answer: a line, a table or a fence that is still open is shown as far as it came."""
        self._held = ""
        if self._source or self._begun or self._is_long:
            self._line()
        self._end_table()
        self._fence, self._code, self._in_list, self._blank = "", None, False, True
        self._output.end_line()

    # --- a whole line ------------------------------------------------------------------------------------------------

    def _line(self) -> None:
        """Show the line, whose end has arrived."""
        source = self._source
        self._source = ""
        if self._begun:
            self._flow.add(runs(_with_spaces(source.rstrip()), self._style))
            self._end_line()
        elif self._is_long:
            self._flow.raw(f"{source}\n")
            self._is_long = False
        elif self._fence:
            self._code_line(source)
        elif self._is_row(source):
            self._rows.append(source)
        else:
            self._end_table()
            self._other_line(source)

    def _other_line(self, source: str) -> None:
        found = _FENCE.match(source)
        if found is not None:
            self._fence = found[2]
            self._code = Highlighter(found[3].split(" ")[0])
            self._verbatim([(source.rstrip(), _DIM)])
        elif not source.strip():
            self._flow.show()
            if not self._blank:
                self._flow.end()
            self._blank = True
        elif _RULE.match(source):
            self._flow.begin()
            self._verbatim([("─" * (self._flow.width - 1), _DIM)])
        elif self._blank and not self._in_list and source.startswith(("    ", "\t")):
            self._verbatim([(source, "")])
        else:
            self._begin(source)
            self._line()

    def _code_line(self, source: str) -> None:
        stripped = source.strip()
        if stripped.startswith(self._fence) and not stripped.strip(self._fence[0]):
            self._fence = ""
            self._verbatim([(source.rstrip(), _DIM)])
        elif self._code is not None:
            self._verbatim(self._code.line(source))

    def _verbatim(self, line: list[Run]) -> None:
        self._flow.begin()
        self._flow.whole(line)
        self._blank = False

    def _end_line(self) -> None:
        self._flow.end()
        self._begun = self._blank = False

    # --- a line under way --------------------------------------------------------------------------------------------

    def _under_way(self) -> None:
        """Show what is certain of the line, and what is not in a way that can be taken back."""
        source = self._source
        if len(source) > _LONGEST_LINE and not self._begun and self._fence:
            self._flow.raw(source)
            self._source, self._is_long = "", True
            return
        if not self._begun and (self._fence or self._rows or _undecided(source)):
            self._waiting(source)
            return
        if not self._begun:
            self._end_table()
            self._begin(source)
        self._source = _with_spaces(self._source)
        count = certain(self._source)
        self._flow.add(runs(self._source[:count], self._style))
        self._source = self._source[count:]
        is_word = bool(_PLAIN.fullmatch(self._source))
        self._flow.show([(self._source, self._style)] if is_word else preview(self._source, self._style), grows=is_word)

    def _waiting(self, source: str) -> None:
        if self._rows and not self._fence and not (source and not _TABLE.match(source)):
            source = f"(a table, {len(self._rows)} rows so far)"
            self._flow.begin()
            self._flow.show([(source, _DIM)])
        elif self._rows and not self._fence and not _undecided(source):
            self._end_table()
            self._under_way()
        else:
            self._flow.begin()
            shown = "" if not self._fence and _UNDECIDED.match(source) else source
            self._flow.show([(shown[: self._flow.width].expandtabs(4), "")])

    def _begin(self, source: str) -> None:
        """Begin a line of text, whose kind is decided now: its mark goes, its words follow."""
        first: list[Run] = []
        hanging: list[Run] = []
        self._style = ""
        quote = _QUOTE.match(source)
        if quote is not None:
            bars = "▌ " * quote[1].count(">")
            first, hanging = [(bars, _DIM)], [(bars, _DIM)]
            source = source[quote.end() :]
        heading, item = _HEADING.match(source), _ITEM.match(source)
        if heading is not None:
            self._style = _HEADINGS.get(len(heading[1]), _OTHER_HEADING)
            source = source[heading.end() :]
        elif item is not None:
            mark = "• " if item[2] in "-*+" else f"{item[2]} "
            if item[4]:
                mark = _BOXES[item[4]]
            indent = item[1].expandtabs(4)
            first.append((f"{indent}{mark}", ""))
            hanging.append((" " * (len(indent) + len(mark)), ""))
            source = source[item.end() :]
            self._in_list = True
        else:
            indent = _INDENT.match(source)[0].expandtabs(4) if quote is None else ""  # type: ignore[index]
            self._in_list = self._in_list and bool(indent)
            first.append((indent, ""))
            hanging.append((indent, ""))
            source = source.lstrip()
        self._flow.begin(first, hanging)
        self._source, self._begun = source, True

    # --- tables ------------------------------------------------------------------------------------------------------

    def _is_row(self, source: str) -> bool:
        """Whether the line belongs to a table: its second line decides, and until then it is kept."""
        if not _TABLE.match(source):
            return False
        return len(self._rows) != 1 or is_delimiter(source)

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        if len(rows) > 1:
            self._flow.begin()
            self._flow.raw(table_text(rows, self._flow.width))
            self._blank = False
            return
        source = self._source
        for row in rows:  # one line is no table
            self._begin(row)
            self._line()
        self._source = source


def _with_spaces(text: str) -> str:
    """The text without tabs, which have no width of their own."""
    return text.replace("\t", "    ")


def _undecided(source: str) -> bool:
    if len(source) > _LONGEST_LINE:
        return False
    if _UNDECIDED.match(source) or _TABLE.match(source):
        return True
    stripped = source.lstrip()
    return stripped.startswith(("```", "~~~")) or bool(_RULE.match(source)) or source.startswith(("    ", "\t"))
