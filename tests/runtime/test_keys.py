"""Keys: where they are found, in which order, and that they are never shown."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
import trio

import allm
from allm import keys
from allm.http.keys import Secret, resolve

NAMES = ("ALLM_TEST_KEY", "ALLM_OTHER_KEY")


@pytest.fixture(autouse=True)
def no_other_keys(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    keys.clear()


def found(explicit=None):
    return resolve("openai", explicit and Secret(explicit), NAMES).reveal()


def test_the_order_of_precedence(monkeypatch, tmp_path):
    """A file, the environment, the process, the context, the call: each takes precedence over those before it."""
    file = tmp_path / ".env"
    file.write_text("ALLM_TEST_KEY=of-the-file\nALLM_OTHER_KEY=\n")
    keys.load_dotenv(file)
    assert found() == "of-the-file"
    monkeypatch.setenv("ALLM_TEST_KEY", " of-the-environment\n")
    assert found() == "of-the-environment"
    keys.put("openai", "of-the-process")
    assert found() == "of-the-process"
    with keys.override(openai="of-the-context"):
        assert found() == "of-the-context"
        assert found("of-the-call") == "of-the-call"
        with keys.override(anthropic="x"):
            assert found() == "of-the-context"
    keys.clear()
    assert found() == "of-the-environment"


async def test_a_context_has_its_own_keys():
    """Concurrent tasks have different keys, and tasks that they start inherit them."""
    seen = []

    async def tenant(key):
        with keys.override(openai=key):
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(note)

    async def note():
        seen.append(found())

    async with trio.open_nursery() as nursery:
        for key in ("a", "b"):
            nursery.start_soon(tenant, key)
    assert sorted(seen) == ["a", "b"]


@pytest.mark.parametrize("key", [None, "", " "])
def test_a_missing_key(key):
    """The error names every place that was searched."""
    with pytest.raises(allm.EngineError, match=r"ALLM_TEST_KEY or ALLM_OTHER_KEY.*keys\.override") as caught:
        found(key)
    assert caught.value.reason == "missing_key"


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("KEY\n1", "a line break or another control character"),
        ("KEY\N{EURO SIGN}", "a character outside ASCII"),
        ("KEY\x7f", "a line break or another control character"),
        (" KEY", "a space or a line break around it"),
        ("KEY\n", "a space or a line break around it"),
    ],
)
def test_a_key_that_no_header_can_carry(key, what):
    """It is refused without being shown; the error says what is wrong with it."""
    with pytest.raises(allm.EngineError, match=f"has {what}, .* check how it was copied") as caught:
        found(key)
    assert caught.value.reason == "invalid_key"
    assert "KEY" not in str(caught.value)


def test_a_secret_does_not_show():
    """Neither as text, nor in a collection, a copy or a pickle."""
    secret = Secret("sk-canary")
    for text in (repr(secret), str(secret), f"{secret}", repr([secret]), repr({"key": secret})):
        assert "canary" not in text
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    assert secret == Secret("sk-canary") != Secret("other")
    assert secret != "sk-canary"
    assert hash(secret) == hash(Secret("other"))  # a hash of the key could be used to test guesses


def test_redact_masks_the_key_and_its_beginning():
    """The beginning is masked where a quotation was cut off inside the key."""
    secret = Secret("sk-canary-0123456789")
    assert secret.redact("key sk-canary-0123456789, sk-canary-012...") == "key ***, ***..."
    assert secret.redact("sk-ca... is short enough") == "sk-ca... is short enough"
    assert Secret("").redact("the key : text") == "the key : text"


NOT_A_SECRET = {
    "ollama": ["model 'ollama-x' not found", "ollama is not running", "the key of the ollama-x model"],
    "EMPTY": ["EMPTY answer", "KEY IS EMPTYISH"],
    "not-needed": ["a key is not-needed-here", "the model not-needed-8b", "a-not-needed"],
    "k": ["keep it", "the key kept", "k"],
    "test1": ["test1 failed"],
}
CALLED_A_KEY = {
    "Incorrect API key provided: {}. You can": "Incorrect API key provided: ***. You can",
    "the key {} is wrong": "the key *** is wrong",
    "invalid x-api-key '{}'": "invalid x-api-key '***'",
    "api_key={}&a=b": "api_key=***&a=b",
    '{{"authorization": "Bearer {}"}}': '{{"authorization": "Bearer ***"}}',
    "Your token was {}, and password: {}": "Your token was ***, and password: ***",
}


@pytest.mark.parametrize("key", NOT_A_SECRET)
def test_a_key_that_is_an_ordinary_word(key):
    """Sentences that contain the word are kept; it is masked only where they call it a key."""
    for text in NOT_A_SECRET[key]:
        assert Secret(key).redact(text) == text
    for text, masked in CALLED_A_KEY.items():
        assert Secret(key).redact(text.format(key, key)) == masked.format(key, key)


@pytest.mark.parametrize("key", ["Bearer sk-1234567890", "bearer x"])
def test_a_key_that_begins_with_bearer(monkeypatch, key):
    """It is refused, wherever it comes from: the header would contain the word twice."""
    monkeypatch.setenv("ALLM_TEST_KEY", key)
    for given in (key, None):
        with pytest.raises(allm.EngineError, match=r"begins with 'Bearer '.*pass the key alone") as caught:
            found(given)
        assert caught.value.reason == "invalid_key"
        assert "sk-" not in str(caught.value)


def test_a_missing_file(tmp_path):
    """It is an error; no other file is tried."""
    with pytest.raises(FileNotFoundError):
        keys.load_dotenv(tmp_path / "no.env")


def test_without_the_extra(monkeypatch, tmp_path):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ImportError, match=r"allm-trio\[dotenv\]"):
        keys.load_dotenv(tmp_path / ".env")
