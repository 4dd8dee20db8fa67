"""`Toolset`: what its methods make of its tools, and which mistakes they find."""

from __future__ import annotations

from functools import partial

import pytest

import allm
from allm.data.json.codec import to_json
from allm.data.request import request_problems


def named(name, **fields):
    return allm.Tool(name, f"Does {name}.", handler=lambda arguments: name, **fields)


def names(toolset):
    return [tool.name for tool in toolset.known()]


SHOP = allm.Toolset([named("find"), named("buy"), named("refund")])


def test_methods_make_new_sets_and_leave_the_old_one():
    """Each applies to the names that those before it have made."""
    made = SHOP.prefixed("shop_").renamed({"shop_find": "search"}).filtered(["search", "shop_refund"])
    assert names(made) == ["search", "shop_refund"]
    assert names(made.filtered(lambda tool: tool.name.startswith("shop_"))) == ["shop_refund"]
    assert names(SHOP) == ["find", "buy", "refund"]
    assert repr(made) == "<Toolset of search, shop_refund>"
    assert repr(SHOP.filtered(lambda _: False)) == "<Toolset of no tools>"


def test_names_may_be_swapped_but_not_doubled():
    """New names are all given at once; two of one name are an error."""
    assert names(SHOP.renamed({"find": "buy", "buy": "find"})) == ["buy", "find", "refund"]
    with pytest.raises(allm.ValidationError, match="two tools of the set have the name 'buy'"):
        SHOP.renamed({"find": "buy"})
    with pytest.raises(allm.ValidationError, match="two tools of the set have the name 'a'"):
        allm.Toolset([named("a"), named("a")])


def test_a_set_changes_what_its_tools_are():
    """Approval, limits and how they are shown become fields of the tools; the last word counts."""
    first, second, third = SHOP.approval(["refund"]).limited(2, timeout=5).compact().known()
    assert [tool.manual for tool in (first, second, third)] == [False, False, True]
    assert first.limit is second.limit is third.limit
    assert [tool.timeout for tool in (first, second, third)] == [5, 5, 5]
    assert all(tool.compact and not tool.deferred for tool in (first, second, third))
    assert all(tool.deferred and not tool.compact for tool in SHOP.compact().deferred().known())
    assert all(tool.manual for tool in SHOP.approval().known())
    assert SHOP.limited(2).known()[0].limit is not SHOP.limited(2).known()[0].limit


async def policy(tool, call):
    """Says yes, but only to who awaits it."""
    return True


class Policy:
    async def __call__(self, tool, call):
        return False


@pytest.mark.parametrize("method", ["filtered", "approval"])
def test_a_name_that_the_set_does_not_have_is_an_error(method):
    """It would silently offer nothing, or guard nothing."""
    with pytest.raises(allm.ValidationError, match="the set has no tool 'refnd'; did you mean 'refund'"):
        getattr(SHOP, method)(["refnd"])
    with pytest.raises(allm.ValidationError, match="it has: find, buy, refund"):
        getattr(SHOP, method)(["zzz"])
    with pytest.raises(allm.ValidationError, match="which is str; expected a list of names, or a function"):
        getattr(SHOP, method)("refund")
    with pytest.raises(allm.ValidationError, match="no tool 'refnd'"):
        SHOP.renamed({"refnd": "x"})


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: allm.Toolset("abc"), "expected an iterable of Tool, or a function that returns one"),
        (lambda: allm.Toolset(named("a")), "expected an iterable of Tool, or a function that returns one"),
        (lambda: allm.Toolset(allm.Tool), "expected an iterable of Tool"),
        (lambda: allm.Toolset([names]), "decorate names with @allm.tool"),
        (lambda: allm.Toolset([SHOP]), "Toolset; expected Tool"),
        (lambda: allm.Toolset([named(["a"])]), r"tools\[0\].name is list; expected str"),
        (lambda: SHOP.prefixed(None), "prefix is NoneType; expected str"),
        (lambda: SHOP.renamed(["a"]), "names is list; expected Mapping"),
        (lambda: SHOP.filtered(policy), "which is function; expected a function that is not async"),
        (lambda: SHOP.approval(partial(policy, "x")), "which is partial; expected a function that is not async"),
        (lambda: SHOP.approval(lambda tool, call: True).approval(Policy()), "which is Policy; expected a function"),
        (lambda: SHOP.limited(at_once=0), "at_once is 0; expected a whole number, 1 or more"),
        (lambda: SHOP.limited(at_once=True), "at_once is True"),
    ],
)
def test_mistakes_are_found_where_they_are_made(make, what):
    """With what was expected."""
    with pytest.raises(allm.ValidationError, match=what):
        make()


def test_what_a_tool_of_a_set_cannot_be():
    """Names too long, a policy that has to be awaited, and two ways to hide it are refused with the request."""

    def problems(*tools):
        return [problem.tag for problem in request_problems(allm.request("hi", tools=tools))]

    assert problems(*SHOP.prefixed("x" * 62).known()) == ["invalid_format"] * 3
    assert problems(named("a", manual_when=policy)) == ["not_callable"]
    assert problems(named("a", compact=True, deferred=True)) == ["conflict"]
    assert problems(named("a", limit=2), named("b", compact=1)) == ["invalid_type", "not_a_boolean"]
    assert problems(SHOP) == []


def test_what_lives_is_not_saved():
    """A tool with a policy, or with a limit, is refused as one with a handler is."""
    for toolset, field in ((SHOP, "handler"), (SHOP.approval(lambda tool, call: True), "handler")):
        with pytest.raises(allm.ValidationError, match=f"has a {field}, which cannot be serialised"):
            to_json(toolset.known()[0])
    tool = allm.Tool("a", "A.", manual_when=lambda call: True)
    with pytest.raises(allm.ValidationError, match="has a manual_when"):
        to_json(tool)
    with pytest.raises(allm.ValidationError, match="a set of tools cannot be serialised"):
        to_json(allm.request("hi", tools=[SHOP]))
    kept = allm.Tool("a", "A.", compact=True)
    assert allm.from_json(to_json(kept)) == kept
