"""`ToolLayers`: the tools and sets that the layers of a call give, and what they make together."""

from __future__ import annotations

from allm.data.attrs_classes import frozen
from allm.data.problems import Problem, refuse, shown
from allm.data.tool import Tool
from allm.data.tool_help import TOOL_HELP, with_help
from allm.data.tool_source import ToolSource
from allm.data.toolset import Toolset, source_of

__all__ = ["ToolLayers", "offered"]


@frozen
class ToolLayers:
    """The tools and sets that the layers of a call give, in order from the application's default to the call's own."""

    layers: tuple[tuple[Tool | Toolset, ...], ...]

    @property
    def due(self) -> tuple[ToolSource, ...]:
        """The sources that have to be loaded first."""
        sets = (entry for layer in self.layers for entry in layer if isinstance(entry, Toolset))
        return tuple({source_of(entry): None for entry in sets if source_of(entry).is_due})

    def known(self) -> tuple[Tool, ...]:
        """All tools, without those of sets that were never loaded.

        A later layer's tool replaces one of the same name, as everywhere, unless one of them is of a set: names from a
        server must not take the place of others. A set does replace what the same source gave in an earlier layer.

        Raises:
            ValidationError: `duplicate_name`.
        """
        merged: dict[str, tuple[Tool, ToolSource | None, int]] = {}
        clashes: dict[str, None] = {}
        for depth, layer in enumerate(self.layers):
            for entry in layer:
                source, tools = (None, (entry,)) if isinstance(entry, Tool) else (source_of(entry), entry.known() or ())
                for tool in tools:
                    _, earlier, where = merged.get(tool.name, (tool, source, -1))
                    if earlier is not source or (source is not None and where == depth):
                        clashes[tool.name] = None
                    merged[tool.name] = tool, source, depth
        sentence = (
            "two tools have the name {}, and a tool of a set never replaces another; give the set a prefix, "
            ".prefixed('crm_'), or the tool another name, .renamed({{{}: ...}})"
        )
        refuse(
            [Problem(("tools",), "duplicate_name", sentence.format(shown(name), shown(name))) for name in clashes],
            reason="invalid_request",
        )
        return tuple(tool for tool, _, _ in merged.values())


def offered(tools: tuple[Tool, ...] | ToolLayers) -> tuple[Tool, ...]:
    """The tools of a request, as far as they are loaded, with `tool_help` where it is needed.

    Raises:
        ValidationError: Two tools have the same name, or a set lacks a tool that its methods name.
    """
    known = tools.known() if isinstance(tools, ToolLayers) else tools
    return with_help(known) if any(tool.compact or tool.name == TOOL_HELP for tool in known) else known
