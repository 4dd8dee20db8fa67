"""`cache_control`: up to where the API may keep a prompt.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching: at most four marks in a request, and none on a
tool with `defer_loading`. The caller's own go first. Ours fill what is left, at the ends of what stays the same for
different lengths of time: the tools, the system prompt, the conversation so far.

Who marks the newest message of each turn has more than four marks after four turns. Of the conversation's, the newest
are kept then: each stands for all that comes before it, and the API finds by itself what an earlier request has kept.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, Literal, cast

from allm.adapters import as_list, as_object

__all__ = ["PromptCache", "mark", "with_marks"]

PromptCache = bool | Literal["5m", "1h"]

_MARK = "cache_control"
_MOST = 4

Block = dict[str, Any]


def with_marks(body: Mapping[str, Any], prompt_cache: PromptCache, by_hand: Container[str] = ()) -> dict[str, Any]:
    """The body with as many marks as the API takes.

    Args:
        body: Whole, with the marks in it that the caller has set; it is not changed.
        prompt_cache: Whether to add marks, and for how long each holds.
        by_hand: Of `system` and `messages`, what the caller wrote: there only the caller sets marks.
    """
    marked = {key: _copied(value) if key in {"tools", "system", "messages"} else value for key, value in body.items()}
    tools, system, messages = (as_list(marked.get(key)) for key in ("tools", "system", "messages"))
    for tool in _blocks(tools):
        if tool.get("defer_loading"):
            tool.pop(_MARK, None)
    # A mark beside `messages` stands for one on the last block there is.
    left = _MOST - (1 if marked.get(_MARK) else 0)
    for block in [*_blocks(tools), *_blocks(system), *reversed(list(_blocks(messages)))]:
        if block.get(_MARK):
            left -= 1
            if left < 0:
                del block[_MARK]
    if prompt_cache:
        ours = ([] if "system" in by_hand else system), ([] if "messages" in by_hand else messages)
        for block in _ends(tools, *ours):
            if left > 0 and not block.get(_MARK):
                block[_MARK] = mark(prompt_cache)
                left -= 1
    return marked


def mark(prompt_cache: PromptCache) -> Block:
    """A mark that holds for so long; without a time for as long as the API likes, which is five minutes."""
    return {"type": "ephemeral", **({} if isinstance(prompt_cache, bool) else {"ttl": prompt_cache})}


def _copied(value: Any) -> Any:
    """Tools, or blocks and the blocks in them, to be marked: the rest is shared, as it may be large."""
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: _copied(inner) if key == "content" else inner for key, inner in items}
    return value


def _blocks(value: Any) -> Iterator[Block]:
    """All objects in a list that can be marked, with those in their `content`, in their order."""
    for item in as_list(value):
        if isinstance(item, dict):
            yield from _blocks(cast("Block", item).get("content"))
            if "role" not in item:  # a message only holds blocks
                yield cast("Block", item)


def _ends(tools: list[Any], system: list[Any], messages: list[Any]) -> Iterator[Block]:
    users = [turn for turn in messages if as_object(turn).get("role") == "user"]
    last = as_list(as_object(users[-1]).get("content")) if users else []
    for blocks in ([tool for tool in tools if not as_object(tool).get("defer_loading")], system, last):
        if blocks and isinstance(blocks[-1], dict):
            yield cast("Block", blocks[-1])
