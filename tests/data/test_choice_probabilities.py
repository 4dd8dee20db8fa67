"""The probability of a choice in a JSON answer, from tokens that are cut anywhere."""

from __future__ import annotations

import json
import math
import zlib

import pytest
from hypothesis import given, strategies as st

from allm.data.choice_probabilities import Blank, probabilities_in
from allm.data.logprobs import TokenLogprob

SURE = -1e-9
BOTH = (True, False)


def token(text, probability=1.0, others=(), **fields):
    """A token with the ones in its place: itself, and others with their probabilities."""
    alternatives = (TokenLogprob(text, math.log(probability)), *(TokenLogprob(t, math.log(p)) for t, p in others))
    return TokenLogprob(text, math.log(probability), alternatives=alternatives, **fields)


def blank(*choices, path=("q",)):
    return Blank(path, tuple((choice, choice) for choice in choices))


def asked(tokens, *choices):
    """The probabilities for one question."""
    return probabilities_in("".join(each.token for each in tokens), tokens, [blank(*choices)])[0]


def close(found, expected):
    assert found.keys() == expected.keys()
    assert all(found[choice] == pytest.approx(expected[choice], abs=1e-9) for choice in expected)


# --- what is counted --------------------------------------------------------------------------------------------------

YES_NO = {
    "a token of its own": [token('{"q": "'), token("yes", 0.6, [("no", 0.2)]), token('"}')],
    "with the quotes": [token('{"q":'), token(' "yes"', 0.6, [(' "no"', 0.2)]), token("}")],
    "to the end of the answer": [token('{"q": "'), token('yes"}', 0.6, [('no"}', 0.2)])],
    "in pieces": [token('{"q": "'), token("y", 0.6, [("n", 0.2)]), token("es"), token('"}')],
    "behind a token that could be both": [
        token('{"q"'),
        token(': "', 0.5),
        token("yes", 0.6, [("no", 0.2)]),
        token('"}'),
    ],
    "with the end of the key": [token('{"q'), token('": "yes', 0.6, [('": "no', 0.2)]), token('"}')],
    "with other white space": [token('{"q":'), token(' "yes', 0.6, [('"no', 0.1), (' "no', 0.1)]), token('"}')],
    "beside words that are no choice": [
        token('{"q": "'),
        token("yes", 0.6, [("maybe", 0.15), ("no", 0.2)]),
        token('"}'),
    ],
    "several that begin it": [token('{"q": "'), token("yes", 0.3, [("ye", 0.2), ("y", 0.1), ("no", 0.2)]), token('"}')],
    "without itself among the others": [
        token('{"q": "'),
        TokenLogprob("yes", math.log(0.6), alternatives=(TokenLogprob("no", math.log(0.2)),)),
        token('"}'),
    ],
}


@pytest.mark.parametrize("tokens", YES_NO.values(), ids=YES_NO)
def test_of_two_choices(tokens):
    """However the value is cut: what could begin a choice counts for it, and the rest for none."""
    close(asked(tokens, "yes", "no"), {"yes": 0.75, "no": 0.25})


def test_an_unlikely_choice_beside_the_others():
    """What is known of all choices can be compared, however unlikely they are."""
    others = (TokenLogprob("Sure", -0.1), TokenLogprob("no", math.log(1e-4)))
    unlikely = TokenLogprob("yes", math.log(3e-4), alternatives=others)
    close(asked([token('{"q": "'), unlikely, token('"}')], "yes", "no"), {"yes": 0.75, "no": 0.25})
    less = TokenLogprob("yes", math.log(1e-5), alternatives=others)
    close(asked([token('{"q": "'), less, token('"}')], "yes", "no"), {"yes": 1 / 11, "no": 10 / 11})


def test_a_prefix_of_another_choice():
    """The closing quote decides, and the number's end."""
    texts = [token('{"q": "'), token("low", 0.8, [("high", 0.2)]), token('"', 0.75, [("er", 0.25)]), token("}")]
    close(asked(texts, "low", "lower", "high"), {"low": 0.6, "lower": 0.2, "high": 0.2})
    numbers = [token('{"q": '), token("1", 0.8, [("2", 0.2)]), token("0", 0.75, [("}", 0.2), (",", 0.05)]), token("}")]
    close(asked(numbers, 1, 2, 10), {1: 0.2, 2: 0.2, 10: 0.6})


def test_another_token_that_several_choices_begin_with():
    """Nobody knows how it would have gone on: each of them gets the same; if all of them do, it says nothing."""
    some = [token('{"q": "'), token("blue", 0.6, [("red", 0.4)]), token('"}')]
    close(asked(some, "red", "reddish", "blue"), {"red": 0.2, "reddish": 0.2, "blue": 0.6})
    every = [token('{"q":'), token(' "yes', 0.4, [(' "no', 0.1), (' "', 0.5)]), token('"}')]
    close(asked(every, "yes", "no"), {"yes": 0.8, "no": 0.2})


def test_a_choice_that_is_not_among_the_likeliest():
    """It has 0."""
    tokens = [token('{"q": "'), token("yes", 0.5, [("no", 0.5)]), token('"}')]
    close(asked(tokens, "yes", "no", "none"), {"yes": 0.5, "no": 0.25, "none": 0.25})
    close(asked(tokens, "yes", "no", "other"), {"yes": 0.5, "no": 0.5, "other": 0.0})


@pytest.mark.parametrize("values", [(True, False, None), (3, -1, 0), ("é", "è", "e"), ("\U0001f600", '"', "\\")])
def test_of_every_kind_of_value(values):
    """In one token each."""
    right, *others = values
    for ascii_only in (True, False):
        text, *written = (json.dumps(value, ensure_ascii=ascii_only) for value in values)
        tokens = [token('{"q": '), token(text, 0.5, [(other, 0.25) for other in written]), token("}")]
        close(asked(tokens, *values), {right: 0.5} | dict.fromkeys(others, 0.25))


def test_bytes_of_characters():
    """A token that ends inside a character is known by its bytes; the text it is shown as is no part of the answer."""
    first, rest = "é".encode()[:1], "é".encode()[1:]
    cut = TokenLogprob(
        "�",
        math.log(0.5),
        token_bytes=first,
        alternatives=(
            TokenLogprob("�", math.log(0.5), token_bytes=first),
            TokenLogprob("a", math.log(0.25), token_bytes=b"a"),
        ),
    )
    tokens = [token('{"q": "'), cut, TokenLogprob("�", SURE, token_bytes=rest), token('"}')]
    [found] = probabilities_in('{"q": "é"}', tokens, [blank("é", "a")])
    close(found, {"é": 2 / 3, "a": 1 / 3})


def test_several_questions_and_objects_in_objects():
    """Each is read at its own place, whatever stands in the values before it."""
    tokens = [
        token('{"é": "{\\"q'),
        token('\\": 1}", "inner": {"q'),
        token('": '),
        token("true", 0.9, [("false", 0.1)]),
        token('}, "q": '),
        token("false", 0.8, [("true", 0.2)]),
        token("}"),
    ]
    text = "".join(each.token for each in tokens)
    found = probabilities_in(text, tokens, [blank(*BOTH), blank(*BOTH, path=("inner", "q"))])
    close(found[0], {True: 0.2, False: 0.8})
    close(found[1], {True: 0.9, False: 0.1})


def test_tokens_around_the_answer():
    """Services count marks of the end, and a fence of Markdown is part of the text."""
    tokens = [token("\n"), *YES_NO["in pieces"], token("<|end|>")]
    text = "".join(each.token for each in tokens[1:-1])
    close(probabilities_in(text, tokens, [blank("yes", "no")])[0], {"yes": 0.75, "no": 0.25})
    fenced = [token("```json\n"), *YES_NO["in pieces"], token("\n```")]
    close(asked(fenced, "yes", "no"), {"yes": 0.75, "no": 0.25})


def test_a_single_choice():
    """It is certain, whatever the tokens say."""
    assert asked([TokenLogprob('{"q": "yes"}', SURE)], "yes") == {"yes": 1.0}


UNKNOWN = {
    "no likeliest tokens": [TokenLogprob(text, -0.1) for text in ('{"q": "', "yes", '"}')],
    "only the chosen one": [token('{"q": "'), token("yes", 0.6), token('"}')],
    "the whole answer in one token": [TokenLogprob('{"q": "yes"}', -0.1)],
    "hardly possible": [
        token('{"q": "'),
        TokenLogprob("yes", -9999.0, alternatives=(TokenLogprob("no", -9999.0),)),
        token('"}'),
    ],
    "less likely than all that are known": [
        token('{"q": "'),
        TokenLogprob("yes", -9.0, alternatives=(TokenLogprob("Sure", -0.1), TokenLogprob("Well", -3.0))),
        token('"}'),
    ],
    "spelled in a way that no choice is": [token('{"q": "'), token("\\u0079es", 0.6, [("no", 0.2)]), token('"}')],
}


@pytest.mark.parametrize("tokens", UNKNOWN.values(), ids=UNKNOWN)
def test_tokens_that_do_not_tell(tokens):
    """None, not a number that says more than is known."""
    assert asked(tokens, "yes", "no") is None


def test_tokens_of_another_text():
    """None: they cannot be put beside the answer."""
    tokens = YES_NO["in pieces"]
    assert probabilities_in('{"q": "no"}', tokens, [blank("yes", "no")]) == [None]
    assert probabilities_in('{"q": "yes"}', (), [blank("yes", "no")]) == [None]
    assert probabilities_in('{"q": "yes"}', tokens, [blank("yes", "no", path=("other",))]) == [None]


# --- against a language model whose every probability is known --------------------------------------------------------


def cut(text, salt, rate):
    """The tokens of a text. Whether one ends at a place depends on what stands before it, as when a model writes."""
    ends = [end for end in range(1, len(text)) if zlib.crc32(text[:end].encode(), salt) % rate == 0]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def spoken(documents, chosen, salt, rate, noise):
    """The tokens of `chosen` as a model writes them that writes each document with its probability."""
    known = {document: cut(document, salt, rate) for document in documents}
    tokens = []
    for at, piece in enumerate(known[chosen]):
        possible = {text: p for text, p in documents.items() if known[text][:at] == known[chosen][:at]}
        following = {}
        for text, probability in possible.items():
            following[known[text][at]] = following.get(known[text][at], 0) + probability / sum(possible.values())
        numbers = {text: math.log(p * (1 - noise)) for text, p in following.items()}
        others = {"no choice": math.log(noise / 2), "[": math.log(noise / 2)}
        alternatives = tuple(TokenLogprob(text, number) for text, number in (numbers | others).items())
        tokens.append(TokenLogprob(piece, numbers[piece], alternatives=alternatives))
    return tokens


WORDS = st.lists(st.text("abé1", min_size=1, max_size=5), min_size=2, max_size=6, unique=True)
NUMBERS = st.lists(st.integers(-20, 1200), min_size=2, max_size=6, unique=True)


@given(
    st.one_of(WORDS, NUMBERS),
    st.lists(st.floats(0.01, 1), min_size=6, max_size=6),
    st.integers(0, 5),
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.sampled_from(['{"q":%s}', '{ "q" : %s }', '{"p": 0, "q": %s, "r": "q"}']),
)
def test_any_cut_gives_the_true_probability(choices, weights, index, salt, rate, layout):
    """Of the answer that was given exactly, and all numbers add up to 1.

    Others that share a token beside the way that was taken have the sum of theirs.
    """
    truth = {choice: weight / sum(weights[: len(choices)]) for choice, weight in zip(choices, weights, strict=False)}
    documents = {layout % json.dumps(choice, ensure_ascii=False): p for choice, p in truth.items()}
    written = dict(zip(truth, documents, strict=True))
    chosen = choices[index % len(choices)]
    tokens = spoken(documents, written[chosen], salt, rate, 0.1)
    [found] = probabilities_in(written[chosen], tokens, [blank(*choices)])
    assert found[chosen] == pytest.approx(truth[chosen])
    assert sum(found.values()) == pytest.approx(1)
    apart = {}  # the token with which each document leaves the way of the chosen one
    way = cut(written[chosen], salt, rate)
    for choice, text in written.items():
        pieces = cut(text, salt, rate)
        at = next((at for at, (one, other) in enumerate(zip(pieces, way, strict=False)) if one != other), None)
        apart.setdefault((at, None if at is None else pieces[at]), []).append(choice)
    for together in apart.values():
        assert sum(found[choice] for choice in together) == pytest.approx(sum(truth[choice] for choice in together))
