"""Settings, models and keys: kept in files of the user's own, and used where an option is left out."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from allm import fake
from allm.cli import main
from allm.testing import Reply


@pytest.fixture
def home():
    """The folder of all files of the command."""
    return Path(os.environ["ALLM_HOME"])


@pytest.fixture
def command(capsys):
    """Run a command without Trio around it; returns exit code, output and error output."""

    def run(*arguments):
        code = main(arguments)
        return (code, *capsys.readouterr())

    return run


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_are_kept(command):
    """What is set is shown, and what is removed has its default again."""
    assert command("config", "set", "log", "off") == (0, "", "")
    assert command("config", "set", "system", "Be brief.") == (0, "", "")
    shown = command("config")[1]
    assert "log        off\n" in shown
    assert "system     Be brief.\n" in shown
    assert "markdown   on  (default)\n" in shown
    command("config", "unset", "log")
    assert "log        on  (default)\n" in command("config", "show")[1]


def test_what_was_written_by_hand_stays(command, home):
    """Comments, order and spaces."""
    home.mkdir()
    path = home / "config.toml"
    path.write_text('# mine\nlog   = false # never\n\n[aliases]\n# short\nfast = "openai:a"\n', encoding="utf-8")
    command("config", "set", "model", "fast")
    command("models", "alias", "slow", "openai:b")
    text = path.read_text(encoding="utf-8")
    for line in ("# mine\n", "log   = false # never\n", "# short\n", 'fast = "openai:a"\n', 'slow = "openai:b"\n'):
        assert line in text
    assert command("config")[1].count("alias      ") == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = \n", "is not TOML"),
        ("models = 'x'\n", "there is no setting 'models'; did you mean 'model'?"),
        ("log = 'on'\n", "log is 'on'; expected true or false"),
        ("model = ''\n", "model is ''; expected a text"),
        ("aliases = 3\n", "aliases is not a table such as [aliases]"),
        ("[aliases]\na = 3\n", "aliases is not a table such as [aliases]"),
    ],
)
@pytest.mark.parametrize("arguments", [("config",), ("generate", "Hello"), ("models", "default")])
def test_broken_settings(command, home, text, problem, arguments):
    """One sentence with the file and the problem; nothing is sent."""
    home.mkdir()
    (home / "config.toml").write_text(text, encoding="utf-8")
    code, shown, error = command(*arguments)
    assert code == 1
    assert shown == ""
    assert str(home / "config.toml") in error
    assert problem in error


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("lgo", "on", "there is no setting 'lgo'; did you mean 'log'?"),
        ("nonsense", "on", "there are dotenv, history"),
        ("log", "maybe", "log is 'maybe'; expected on or off"),
        ("model", " ", "model is empty; to remove it: allm config unset model"),
    ],
)
def test_settings_that_there_are_not(command, home, name, value, problem):
    """They are refused, and no file is made."""
    code, _, error = command("config", "set", name, value)
    assert code == 1
    assert problem in error
    assert not home.exists()


def test_folders_without_a_home_of_their_own(command, monkeypatch, tmp_path):
    """Settings and state are where the XDG specification has them; a relative variable does not count."""
    if sys.platform == "win32":
        pytest.skip("Windows has folders of its own")
    monkeypatch.delenv("ALLM_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert command("config", "path")[1] == f"{tmp_path}/c/allm/config.toml\n"
    assert command("logs", "path")[1] == f"{tmp_path}/.local/state/allm/log.db\n"
    command("config", "set", "log", "off")
    assert stat.S_IMODE((tmp_path / "c/allm").stat().st_mode) == 0o700


# --- models ---------------------------------------------------------------------------------------------------------


async def test_the_model_of_a_call(server, allm_main, monkeypatch):
    """The option counts first, then the environment, then the default; an alias may stand in each place."""
    url = ["--base-url", server.url("openai")]
    await allm_main("models", "alias", "short", "openai:aliased")
    await allm_main("models", "default", "openai:default")
    server.add(*[Reply.script("openai", [fake.text("Hello.")])] * 4)
    await allm_main("generate", "Hi", *url)
    monkeypatch.setenv("ALLM_MODEL", "openai:environment")
    await allm_main("generate", "Hi", *url)
    await allm_main("generate", "Hi", *url, "-m", "short")
    monkeypatch.setenv("ALLM_MODEL", "short")
    await allm_main("generate", "Hi", *url)
    models = [request.json()["model"] for request in server.requests]
    assert models == ["default", "environment", "aliased", "aliased"]


@pytest.mark.parametrize("arguments", [("generate", "Hi"), ("chat",)])
def test_no_model(command, arguments):
    """The error has all three ways to say it."""
    code, _, error = command(*arguments)
    assert code == 2
    for way in ("--model PROVIDER:ID", "ALLM_MODEL", "allm models default"):
        assert way in error


def test_the_default_and_aliases(command):
    """They are shown, chosen and removed."""
    assert command("models", "default")[0] == 1
    assert command("models", "alias", "fast", "openai:a")[0] == 0
    assert command("models", "default", "fast")[0] == 0
    assert command("models", "default")[1] == "fast\n"
    assert command("models", "alias", "faster", "fast")[0] == 0  # the model is kept, and no chain of names
    assert command("models", "alias")[1] == "fast = openai:a\nfaster = openai:a\n"
    assert command("models", "alias", "fast")[1] == "openai:a\n"
    assert command("models", "alias", "fast", "--remove")[0] == 0
    code, _, error = command("models", "alias", "fast")
    assert code == 1
    assert "there is no alias 'fast'" in error
    assert command("models", "default", "--unset")[0] == 0
    assert command("models", "default")[0] == 1


@pytest.mark.parametrize("arguments", [("default", "nix:3"), ("alias", "a", "nix:3"), ("alias", "a:b", "openai:c")])
def test_models_that_cannot_be(command, home, arguments):
    """They are not written."""
    code, _, error = command("models", *arguments)
    assert code == 2
    assert "Error: " in error
    assert not home.exists()


def test_the_list_of_models(command):
    """By words, provider and ability; with aliases; as JSON too."""
    command("models", "alias", "sonnet", "anthropic:claude-sonnet-4-5")
    _, shown, _ = command("models", "list", "sonnet-4-5", "--provider", "anthropic", "--tools")
    assert all(
        line.startswith("anthropic:") and "sonnet-4-5" in line and "tools" in line for line in shown.splitlines()
    )
    assert "  (sonnet)\n" in shown
    _, as_json, _ = command("models", "list", "-q", "sonnet-4-5", "--provider", "anthropic", "--json")
    assert as_json.count('"provider": "anthropic"') == as_json.count("\n") > 0
    assert command("models")[1].count("\n") > 50
    code, shown, error = command("models", "list", "no-such-model")
    assert (code, shown) == (1, "")
    assert "No model fits" in error
    assert command("models", "list", "--provider", "nix")[0] == 2


def test_models_of_providers_with_a_key(command, monkeypatch):
    """A key in the environment or in the file counts."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert command("models", "list", "--keys")[0] == 1
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k-123456789")
    providers = {line.partition(":")[0] for line in command("models", "list", "--keys")[1].splitlines()}
    assert providers == {"anthropic"}


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store_key(command, monkeypatch):
    """Run `allm keys set NAME` with a key from a pipe."""
    import io

    def store(name, key):
        monkeypatch.setattr(sys, "stdin", io.StringIO(key))
        return command("keys", "set", name)

    return store


def write_dotenv(text):
    Path(".env").write_text(text, encoding="utf-8")


async def test_a_stored_key_is_sent(server, to_server, allm_main, store_key, monkeypatch):
    """After the environment and `.env`, so that these can replace it for once."""
    store_key("openai", "from-the-file-of-keys\n")
    server.add(*[Reply.script("openai", [fake.text("Hello.")])] * 3)
    await allm_main("generate", "Hi", *to_server)
    monkeypatch.delenv("OPENAI_API_KEY")
    await allm_main("generate", "Hi", *to_server)
    write_dotenv("OPENAI_API_KEY=from-dotenv\nOPENAI_BASE_URL=http://127.0.0.1:9\n")
    await allm_main("generate", "Hi", *to_server)
    keys = [request.headers["authorization"] for request in server.requests]
    assert keys == ["Bearer test-key", "Bearer from-the-file-of-keys", "Bearer from-dotenv"]


async def test_dotenv_can_be_switched_off(server, to_server, allm_main, monkeypatch):
    """Then its key is not used."""
    monkeypatch.delenv("OPENAI_API_KEY")
    write_dotenv("OPENAI_API_KEY=from-dotenv\n")
    await allm_main("config", "set", "dotenv", "off")
    code, _, error = await allm_main("generate", "Hi", *to_server)
    assert code == 1
    assert "no API key" in error


def test_keys_are_named_and_never_shown(command, store_key, monkeypatch, home):
    """The list says where each is."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert command("keys")[2] == "No keys. To store one: allm keys set openai\n"
    key = r"sk-'quoted'\and$odd#1"
    store_key("openai", key)
    store_key("VOYAGE_API_KEY", "second-key-1234")
    monkeypatch.setenv("GROQ_API_KEY", "third-key-1234")
    _, shown, _ = command("keys", "list")
    assert [line.split() for line in shown.splitlines()] == [
        ["groq", "GROQ_API_KEY", "environment"],
        ["openai", "OPENAI_API_KEY", str(home / "keys.env")],
        ["voyage", "VOYAGE_API_KEY", str(home / "keys.env")],
    ]
    for command_line in (("keys",), ("config",), ("doctor",), ("models", "list", "--keys")):
        assert "quoted" not in "".join(map(str, command(*command_line)))
    if sys.platform != "win32":
        assert stat.S_IMODE((home / "keys.env").stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) == 0o700

    from allm.cli.key_files import use_keys
    from allm.http import keys

    try:
        use_keys()
        assert keys.resolve("openai", None, ("OPENAI_API_KEY",)).reveal() == key
    finally:
        keys.clear()


def test_keys_are_replaced_and_removed(command, store_key, home):
    """Other lines of the file stay."""
    home.mkdir()
    (home / "keys.env").write_text("# mine\nexport OPENAI_API_KEY=old-key-12345\nOTHER_KEY=x\n", encoding="utf-8")
    store_key("openai", "new-key-12345")
    assert (home / "keys.env").read_text(encoding="utf-8") == "# mine\nOTHER_KEY=x\nOPENAI_API_KEY='new-key-12345'\n"
    assert command("keys", "remove", "openai")[0] == 0
    assert (home / "keys.env").read_text(encoding="utf-8") == "# mine\nOTHER_KEY=x\n"
    code, _, error = command("keys", "remove", "openai")
    assert code == 1
    assert "has no OPENAI_API_KEY" in error


@pytest.mark.parametrize(
    ("name", "key", "problem"),
    [
        ("opnai", "key-12345678", "'opnai' is no provider; expected one of anthropic"),
        ("openai", "", "the key is empty"),
        ("openai", "two\nlines", "has a line break"),
        ("openai", "Bearer abc-12345", "begins with 'Bearer '"),
        ("fake", "key-12345678", "fake has no key"),
    ],
)
def test_keys_that_cannot_be_stored(store_key, home, name, key, problem):
    """One sentence, and no file."""
    code, _, error = store_key(name, key)
    assert code == 1
    assert problem in error
    assert not home.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_keys_that_others_can_read_are_refused(command, home):
    """With the command that mends it."""
    home.mkdir()
    path = home / "keys.env"
    path.write_text("OPENAI_API_KEY=key-12345678\n", encoding="utf-8")
    path.chmod(0o644)
    code, _, error = command("generate", "Hi", "-m", "openai:x")
    assert code == 1
    assert error == f"Error: others can read the keys in {path} (mode 644): chmod 600 {path}\n"


async def test_a_key_is_typed_without_an_echo(on_a_terminal, home):
    """At a terminal it is asked for."""
    async with on_a_terminal("keys", "set", "openai") as screen:
        await screen.read_until("Key for OPENAI_API_KEY:")
        await screen.press(b"typed-key-1234\r")
        code = await screen.read_all()
        assert code == 0
        assert "typed-key" not in screen.text
        assert not screen.settings_changed
    assert "typed-key-1234" in (home / "keys.env").read_text(encoding="utf-8")
