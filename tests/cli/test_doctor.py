"""`allm doctor`: everything that is missing is a line that says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from allm.testing import Reply


@pytest.fixture
def checks(allm_main):
    """The exit code, and the lines by the name of the check."""

    async def run(*arguments):
        code, shown, _ = await allm_main("doctor", "--json", *arguments)
        found = [json.loads(line) for line in shown.splitlines()]
        return code, {name: [check for check in found if check["name"] == name] for name in {c["name"] for c in found}}

    return run


async def test_a_fresh_installation_is_well(checks):
    """Nothing fails where only settings are missing."""
    code, found = await checks()
    assert code == 0
    assert found["packages"][0]["level"] == "ok"
    assert found["key"][0]["text"] == "openai: OPENAI_API_KEY in the environment"
    assert found["model"][0] == {
        "name": "model",
        "level": "note",
        "text": "no default; to choose one: allm models default PROVIDER:ID",
    }
    assert "test-key" not in str(found)


def spoil_settings(home):
    (home / "config.toml").write_text("log = 3\n", encoding="utf-8")


def open_the_keys(home):
    (home / "keys.env").write_text("A_KEY=1\n", encoding="utf-8")
    (home / "keys.env").chmod(0o644)


def spoil_the_log(home):
    (home / "log.db").write_bytes(b"no database" * 100)


def spoil_the_model(home):
    (home / "config.toml").write_text('model = "nix:3"\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "name", "advice"),
    [
        (spoil_settings, "settings", "allm config unset log"),
        (open_the_keys, "settings", "chmod 600"),
        (spoil_the_log, "log", "move "),
        (spoil_the_model, "model", "unknown provider"),
    ],
)
async def test_what_is_broken_fails(checks, spoil, name, advice):
    """With exit code 1, and what to do."""
    home = Path(os.environ["ALLM_HOME"])
    home.mkdir()  # noqa: ASYNC240
    spoil(home)
    code, found = await checks()
    assert code == 1
    [check] = found[name]
    assert check["level"] == "fail"
    assert advice in check["text"]


async def test_certificates_that_are_not_there(checks, monkeypatch, unloaded):
    """The variable is named."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    code, found = await checks()
    assert code == 1
    assert found["network"][0]["level"] == "fail"
    assert "SSL_CERT_FILE" in found["network"][0]["text"]


async def test_providers_are_called_when_asked_to(checks, server, monkeypatch):
    """A key that is accepted, and one that is not."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url("openai"))
    server.add(Reply.json({"data": []}), Reply.error("openai", 401, message="Incorrect API key provided: test-key"))
    code, found = await checks("--online")
    assert code == 0
    assert found["call"][0]["text"].startswith("openai: the key is accepted, ")
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/models")
    code, found = await checks("--online")
    assert code == 1
    assert found["call"][0]["level"] == "fail"
    assert "test-key" not in found["call"][0]["text"]


async def test_lines_to_read(allm_main):
    """One for each check."""
    code, shown, _ = await allm_main("doctor")
    assert code == 0
    assert all(line.split()[0] in {"ok", "note"} for line in shown.splitlines())
