"""`cache_control`: at most four marks, the caller's first, and none on a tool that is loaded later."""

from __future__ import annotations

import allm
from allm.adapters import AdapterOptions
from allm.providers.anthropic.cache_marks import with_marks
from allm.providers.anthropic.encode import Settings, encode

MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def say(text, mark=None):
    return {"type": "text", "text": text, **({"cache_control": mark} if mark else {})}


def turn(*blocks, role="user"):
    return {"role": role, "content": list(blocks)}


def marked(body):
    """The names and texts of what has a mark."""
    found = []

    def look(value):
        if isinstance(value, dict):
            if value.get("cache_control"):
                found.append(value.get("name") or value.get("text") or value.get("type") or "top level")
            for key in ("tools", "system", "messages", "content"):
                look(value.get(key))
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(body)
    return found


BODY = {
    "tools": [{"name": "a"}, {"name": "b"}],
    "system": [say("s1"), say("s2")],
    "messages": [turn(say("u1")), turn(say("a1"), role="assistant"), turn(say("u2"), say("u3"))],
}


def test_ours_are_the_ends_of_what_stays_the_same():
    """The tools, the system prompt, the conversation so far; nothing is marked unasked."""
    assert marked(with_marks(BODY, prompt_cache=True)) == ["b", "s2", "u3"]
    assert with_marks(BODY, prompt_cache="1h")["tools"][1] == {"name": "b", "cache_control": LONG}
    assert with_marks(BODY, prompt_cache=False) == BODY


def test_the_callers_marks_go_first():
    """Ours fill what is left of the four."""
    three = {**BODY, "messages": [turn(say("u1", LONG), say("u2", MARK)), turn(say("u3", MARK)), turn(say("u4"))]}
    assert marked(with_marks(three, prompt_cache=True)) == ["b", "u1", "u2", "u3"]
    own = {**BODY, "tools": [{"name": "a", "cache_control": LONG}, {"name": "b", "cache_control": LONG}]}
    assert with_marks(own, prompt_cache=True)["tools"] == own["tools"]
    assert marked(with_marks(own, prompt_cache=True)) == ["a", "b", "s2", "u3"]


def test_one_mark_at_the_top_level_counts():
    """The API puts it on the last block."""
    top = {**BODY, "cache_control": MARK, "system": [say("s1", MARK), say("s2", MARK)]}
    assert marked(with_marks(top, prompt_cache=True)) == ["top level", "b", "s1", "s2"]


def test_of_too_many_marks_the_newest_of_the_conversation_are_kept():
    """Who marks every message has more than four after a while; those of the tools and the prompt stand for more."""
    turns = [turn(say(f"u{number}", MARK)) for number in range(6)]
    body = {"tools": [{"name": "a", "cache_control": MARK}], "messages": turns}
    for prompt_cache in (False, True):
        assert marked(with_marks(body, prompt_cache)) == ["a", "u3", "u4", "u5"]
    assert len(marked(body)) == 7


def test_marks_inside_results_count():
    """A block in the result of a tool can be marked as well."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [say("r1", MARK), say("r2", MARK)]}
    body = {"system": [say("s1", MARK)], "messages": [turn(result, say("u1", MARK), say("u2", MARK))]}
    assert marked(with_marks(body, prompt_cache=True)) == ["s1", "r2", "u1", "u2"]


def test_a_tool_that_is_loaded_later_is_never_marked():
    """Neither by us, who mark the last one that is there from the start, nor by the caller."""
    deferred = {"name": "later", "defer_loading": True}
    body = {**BODY, "tools": [*BODY["tools"], deferred, {**deferred, "name": "last", "cache_control": MARK}]}
    assert marked(with_marks(body, prompt_cache=True)) == ["b", "s2", "u3"]
    assert marked(with_marks(body, prompt_cache=False)) == []
    assert marked(with_marks({**body, "tools": [deferred]}, prompt_cache=True)) == ["s2", "u3"]


def test_a_whole_request_keeps_to_four():
    """Marks of blocks written by hand, of tools in the options, and of the adapter."""

    def by_hand(text):
        return allm.ProviderPart("anthropic", say(text, MARK))

    request = allm.Request(
        [allm.system("s"), allm.user(by_hand("a"), by_hand("b")), allm.assistant("c"), allm.user(by_hand("d"), "e")],
        model="claude-sonnet-4-6",
        tools=[allm.Tool("f", "F", manual=True)],
        options={"tools": [{"type": "tool_search_tool_bm25_20251119", "name": "search"}]},
    )
    before = repr(request)
    body = encode(request, AdapterOptions(), Settings(prompt_cache=True))
    assert marked(body) == ["search", "a", "b", "d"]
    assert repr(request) == before


def test_marks_by_hand_alone_keep_to_four():
    """They are counted also where the adapter sets none: in parts, in what an assistant's text has, in the options."""

    def by_hand(text):
        return allm.ProviderPart("anthropic", say(text, MARK))

    said = allm.TextPart("c", metadata={"anthropic": {"cache_control": MARK}})
    messages = [allm.user(by_hand("a"), by_hand("b")), allm.assistant(said), allm.user(by_hand("d"), by_hand("e"))]
    request = allm.Request(messages, model="claude-sonnet-4-6")
    assert marked(encode(request, AdapterOptions(), Settings())) == ["b", "c", "d", "e"]

    three = [allm.user("a"), allm.assistant(said), allm.user("b"), allm.assistant(said), allm.user("d")]
    request = allm.Request(three, model="claude-sonnet-4-6", options={"system": [say(text, MARK) for text in "vwxyz"]})
    assert marked(encode(request, AdapterOptions(), Settings())) == ["v", "w", "x", "y"]
