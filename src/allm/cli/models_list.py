"""`allm models list`: the models of the catalog, a line for each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import final

import attrs
import click

from allm.cli.key_files import key_variables, keys_file, names_in
from allm.cli.settings import settings
from allm.cli.terminal import Terminal
from allm.providers.local.weights import KNOWN, installed
from allm.runtime import catalog
from allm.runtime.registry import known_providers

__all__ = ["ModelList", "known_models"]


@final
@attrs.frozen(kw_only=True, eq=False)
class ModelList:
    """The models that have all `words` in their names, and what else is asked for."""

    terminal: Terminal = attrs.field(kw_only=False)
    words: tuple[str, ...]
    provider: str | None
    need_tools: bool
    need_vision: bool
    need_key: bool
    as_json: bool

    def run(self) -> int:
        """Print the models, and return the exit code: 1 if there are none.

        Raises:
            click.BadParameter: There is no such provider.
        """
        if self.provider is not None and self.provider not in known_providers():
            expected = ", ".join(sorted(known_providers()))
            raise click.BadParameter(
                f"{self.provider!r} is not known; expected one of {expected}", param_hint="'--provider'"
            )
        known = (*catalog.bundled(), *_on_this_machine())
        keyed = {name for name in known_providers() if _has_key(name)} if self.need_key else set[str]()
        rows = sorted((row for row in known if self._fits(row, keyed)), key=lambda row: (row.provider, row.id))
        aliases = settings().aliases
        for row in rows:
            self.terminal.stdout.show(f"{self._json(row) if self.as_json else self._line(row, aliases)}\n")
        if not rows:
            self.terminal.line("No model fits. Models that are not listed can be used too: --model PROVIDER:ID")
        return 0 if rows else 1

    def _fits(self, row: catalog.ModelInfo, keyed: set[str]) -> bool:
        name = f"{row.provider}:{row.id}".lower()
        return (
            (self.provider is None or row.provider == self.provider)
            and not row.id.endswith("*")
            and all(word.lower() in name for word in self.words)
            and (not self.need_tools or row.tools is True)
            and (not self.need_vision or row.vision is True)
            and (not self.need_key or row.provider in keyed)
        )

    def _line(self, row: catalog.ModelInfo, known: Mapping[str, str]) -> str:
        prices = row.prices_for(0, datetime.now(UTC).date())
        if row.provider == "local":
            cost = "" if row.id in installed() else f"allm models pull {row.id}"
        else:
            cost = "" if prices is None else f"${prices.input:g} in, ${prices.output:g} out"
        can = (("tools", row.tools), ("vision", row.vision), ("reasoning", row.reasoning))
        name = f"{row.provider}:{row.id}"
        context = "" if row.context_window is None else f"{row.context_window:,}"
        abilities = " ".join(word for word, has in can if has)
        short = ", ".join(alias for alias, model in known.items() if model == name)
        aliases = f"  ({short})" if short else ""
        return f"{name:<44} {context:>10}  {cost:<24} {abilities}{aliases}".rstrip()

    def _json(self, row: catalog.ModelInfo) -> str:
        facts = attrs.asdict(row, filter=lambda _, value: value not in (None, ()))
        return json.dumps(facts, default=str, ensure_ascii=False)


def _on_this_machine() -> list[catalog.ModelInfo]:
    """Local models: those that can be fetched, and the files that are there."""
    return [catalog.ModelInfo(provider="local", id=name) for name in {*KNOWN, *installed()}]


def known_models() -> list[str]:
    """The models of the catalog as `provider:id`, and the aliases."""
    names = [f"{row.provider}:{row.id}" for row in catalog.bundled() if not row.id.endswith("*")]
    return sorted({*names, *(f"local:{name}" for name in installed()), *settings().aliases})


def _has_key(provider: str) -> bool:
    stored = set(names_in(keys_file()))
    return any(os.environ.get(name) or name in stored for name in key_variables(provider))
