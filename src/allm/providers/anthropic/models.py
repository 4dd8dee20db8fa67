"""What the name of a model tells about it: family and version, and what came with which version.

https://platform.claude.com/docs/en/about-claude/models/overview and the page of each model. The ids of Claude 3 have
the version before the family (`claude-3-5-haiku-20241022`), later ones behind it (`claude-haiku-4-5-20251001`). A
Claude without a version in its name is taken for a new one; any other name, for a model of someone who speaks the
Messages API as it was in 2024.
"""

from __future__ import annotations

import re
from typing import Literal

import attrs

from allm.models import lookup

__all__ = ["Model"]


_VERSION = re.compile(r"claude\D*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")  # a date behind it is no version
_FAMILY = re.compile(r"opus|sonnet|haiku|fable|mythos")
_NEWEST = (99, 0)

# First version: tokens of output. https://platform.claude.com/docs/en/about-claude/models/overview.
_LIMITS = (
    ((4, 6), 128_000),
    ((4, 5), 64_000),
    ((3, 7), 64_000),
    ((3, 5), 8192),
    ((3, 0), 4096),
)
_OPUS_4_LIMIT = 32_000  # Claude Opus 4 and 4.1
_FIRST_5 = (5, 0)
_FIRST_5_5 = (5, 5)


@attrs.frozen
class Model:
    """A model as its name describes it.

    Attributes:
        is_claude: It is one of Anthropic's.
        version: Major and minor; the newest there may be where the name has none.
        family: Such as `sonnet`, or None.
    """

    name: str
    is_claude: bool
    version: tuple[int, int]
    family: str | None

    @classmethod
    def named(cls, name: str) -> Model:
        """The model with this name, also with a prefix or suffix of some platform."""
        lower = name.lower()
        version = _VERSION.search(lower)
        family = _FAMILY.search(lower)
        return cls(
            name,
            "claude" in lower,
            (int(version[1]), int(version[2] or 0)) if version else _NEWEST,
            family[0] if family else None,
        )

    @property
    def has_structured_output(self) -> bool:
        """`output_config.format` (https://platform.claude.com/docs/en/build-with-claude/structured-outputs)."""
        return self.is_claude and self.version >= (4, 5)

    @property
    def thinks_in_levels(self) -> bool:
        """Adaptive thinking and an effort, instead of a budget of tokens."""
        return self.is_claude and self.version >= (4, 6)

    @property
    def takes_budgets(self) -> bool:
        """`budget_tokens`: all that think, before Claude 4.7 (deprecated on 4.6)."""
        return not self.is_claude or self.version < (4, 7)

    def nearest_effort(self, effort: str) -> str:
        """The effort as the model has it: not all have `xhigh`."""
        info = lookup("anthropic", self.name)
        return effort if info is None else info.nearest_effort(effort)

    @property
    def thinks_unasked(self) -> bool:
        """Adaptive thinking is on without being asked for."""
        return self.is_claude and self.version >= _FIRST_5

    @property
    def least_thinking(self) -> Literal["off", "disabled", "between_tools", "low"]:
        """How little it can think: not at all unless asked, or with this `thinking.type`, or with low effort only.

        https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting has the table.
        """
        if not self.is_claude:
            return "disabled"
        if self.version < _FIRST_5:
            return "off"
        if self.family in {"fable", "mythos"} or (self.family == "opus" and self.version >= _FIRST_5_5):
            return "low"
        return "between_tools" if self.family == "sonnet" and self.version >= _FIRST_5_5 else "disabled"

    @property
    def max_images(self) -> int:
        """Images of one request: fewer for models with a context of 200,000 tokens."""
        return 600 if not self.is_claude or self.version >= (4, 6) else 100

    @property
    def output_limit(self) -> int | None:
        """The most tokens that it can put out, as far as its version says; None: not known."""
        if not self.is_claude or self.version == _NEWEST:
            return None
        if self.family == "opus" and (4, 0) <= self.version < (4, 5):
            return _OPUS_4_LIMIT
        return next((limit for first, limit in _LIMITS if self.version >= first), None)
