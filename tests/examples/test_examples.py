"""The programs of `examples/`: each runs as its docstring says, on the demo server, and does what it is for."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import allm
import any_vendor
from allm.providers import Fake
from allm.testing import Reply, WireServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# What each prints last, or somewhere: the effect that it is about.
EXPECTED = {
    "agent_with_files": ["The model wants: write_file", "# Notes\n\nBuy milk."],
    "answer_with_sources": ["Owls hunt at night.[^1]", "(https://handbook.example/owls)"],
    "ask_database": ["  DELETE FROM sales\n  SELECT product, sum", '"rows":[["cup",11],["kettle",4]]'],
    "bulk_with_budget": [
        "ended early [budget]: the budget of $0.003 is used up",
        "a budget of $0.1: 60 of 60 labels",
        "within the budget: True\n",
    ],
    "compare_models": ["careful                    3/3 ", "hasty                      1/3 "],
    "deadline": ["in time: False; kept: "],
    "extract_documents": [
        "250 invoices, 0 of them from the journal\nstopped half way",
        "500 invoices, ",
        "Cedar GmbH   166 invoices, 7389.17 EUR\nwithout a date of payment: 100",
    ],
    "fall_back": [
        "  crowded is asked\n  ready is asked, since the one before is overloaded\nAnybody there? Here I am.",
        "  crowded is left out: down\n  ready is asked\nStill there? Here I am.",
        "  slow is asked\n  ready is asked\nWho is first? Here I am.",
    ],
    "fill_a_form": ["Ada and Bob for 2 nights from 03 May 2027"],
    "guard": [
        "I am [address]. What does Bob order? And by the tool: Bob, [address], orders tea.",
        "in the program: I am ann@example.com.",
        "not sent: Project Owl is not for other ears",
    ],
    "mcp_tools": ["Emma is on shelf 7."],
    "pictures": ["drawn: fox.png", "changed: fox-2.png"],
    "research_agent": ["Bats hear what they cannot see.", " tokens in 8 requests", "; 22 requests are left"],
    "review_changes": ["shop.py:2: serious: A password", "2 of 2 files reviewed; serious: shop.py"],
    "sort_tickets": ["bug      ! The app crashes"],
    "support_desk": [
        "16: I have an answer for you: 12 francs for 7-115 are on their way.\n17: Somebody has to agree to that.",
        "customer/17 waits: refund {'number': '7-114', 'francs': 80}\n17: A colleague is looking at it.",
        "17: I have an answer for you: 80 francs for 7-114 are on their way.\n",
    ],
    "tenants": ["ada: billed to sk-ada\nbob: billed to sk-bob\neve: billed to sk-eve"],
    "terminal_chat": ["> You said: Hello", "> You said: Bye"],
    "two_workers": ["10 messages, saved 5 times, completed"],
    "voice": ["heard: How is the weather?", "said: How is the weather? It is sunny. Take a hat."],
    "watch_costs": ["tool: 0.1", "The turn cost $0.000480; run.jsonl has the rest.\nBoth are warm."],
    "web_api": ["{'answer': 'You asked: How are you?'}", '"type":"End"'],
}
# They need servers, and run in tests/distributed.
WITH_SERVERS = {"bulk_on_ray", "bulk_on_streaq"}
NEEDS = {"mcp_tools": "mcp_types"}
TOLD = "No model: this is the demo server. ALLM_MODEL=provider:id takes a real one.\n"
INPUT = {"terminal_chat": "Hello\nBye\n"}


def needs(name):
    """Skip a test whose example needs an extra that is not installed."""
    if importlib.util.find_spec(NEEDS.get(name, "allm")) is None:
        pytest.skip("needs the extra mcp: nox -s mcp")


def run(name, *words, how=(), cwd=ROOT, **environment):
    """Run an example as its reader does, with words on the command line; `how` has arguments of Python's own."""
    return subprocess.run(
        [sys.executable, *how, EXAMPLES / f"{name}.py", *words],
        input=INPUT.get(name, ""),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=cwd,
        env={**any_vendor.no_settings(), "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_every_example_is_here():
    """A new one needs a line in the table above."""
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"demo"}
    assert programs == set(EXPECTED) | WITH_SERVERS


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(name):
    """Without a key and without arguments."""
    needs(name)
    done = run(name)
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout
    assert done.stderr in {"", TOLD}, "nothing went wrong on the way"


# Runs a program once for each model, in one process: most of the time goes into the imports.
WITH_EACH = """
import io, os, runpy, sys
path, *models = sys.argv[1:]
sys.argv, sys.path[0] = [path], os.path.dirname(path)
typed = sys.stdin.read()
for os.environ["ALLM_MODEL"] in models:
    sys.stdin = io.StringIO(typed)
    runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.parametrize("name", EXPECTED)
async def test_it_runs_with_any_model(name):
    """With ALLM_MODEL it asks that model, whatever the vendor, and copes with answers that it cannot foresee."""
    needs(name)
    some = slice(1, None) if name == "extract_documents" else slice(None)  # 500 requests to each take long
    models, chats = any_vendor.MODELS[some], any_vendor.CHATS[some]
    async with WireServer(default=any_vendor.answer) as server:
        done = await trio.to_thread.run_sync(
            lambda: run(name, *models, how=("-c", WITH_EACH), **any_vendor.addresses(server))
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "demo server" not in done.stderr
        for chat in chats:
            assert any(chat in request.path for request in server.requests), f"nothing was sent to {chat}"


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_refusal_is_told_in_a_line(name):
    """What the provider objects to, such as tools that a model lacks, is in what the program says, and no traceback."""
    needs(name)
    async with WireServer(default=Reply.error("anthropic", 400, message="this model has no tools")) as server:
        where = {"ALLM_MODEL": "anthropic:claude-sonnet-4-6", **any_vendor.addresses(server)}
        done = await trio.to_thread.run_sync(lambda: run(name, **where))
    assert "this model has no tools" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_missing_key_is_told_in_a_line():
    """With the variable that it is read from."""
    done = run("deadline", ALLM_MODEL="anthropic:claude-sonnet-4-6")
    assert done.returncode == 1
    assert done.stderr.startswith("no API key for anthropic: set the environment variable ANTHROPIC_API_KEY")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_provider_is_told_in_a_line():
    """A mistake in ALLM_MODEL is named."""
    done = run("deadline", ALLM_MODEL="nobody:model")
    assert done.returncode == 1
    assert done.stderr.startswith("unknown provider in 'nobody:model'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        "ask_database nowhere.db Which?",
        "compare_models nowhere.jsonl",
        "review_changes nowhere",
        "support_desk ask",
        "support_desk decide 17",
        "voice nowhere.wav",
    ],
)
def test_wrong_words_are_told_without_a_traceback(words, tmp_path):
    """A file that is not there is named; of commands that are not whole, the program's docstring is shown."""
    name, *rest = words.split()
    done = run(name, *rest, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nowhere" in done.stderr or "python examples/" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("name", ["bulk_with_budget", "deadline", "extract_documents"])
def test_ctrl_c_ends_it_with_a_line(name):
    """An interrupted program leaves no traceback and no server behind."""
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    with subprocess.Popen(
        command, env=any_vendor.no_settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        assert "demo server" in program.stderr.readline()
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=20)
    assert told == "interrupted\n"
    assert program.returncode == -signal.SIGINT


def test_a_conversation_waits_between_processes(tmp_path):
    """The support desk: a refund is asked for, seen and refused by three processes, and paid once at most."""

    def desk(*words):
        done = run("support_desk", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Somebody has to agree" in desk("ask", "17", "Order 7-114 is broken.")
    assert desk("waiting") == "customer/17 waits: refund {'number': '7-114', 'francs': 80}\n"
    assert "It was dropped." in desk("decide", "17", "no", "It was dropped.")
    assert desk("waiting") == ""


def test_a_journal_goes_on(tmp_path):
    """The second run of a bulk program has everything from the first one's journal."""
    first, second = (run("bulk_with_budget", "labels.sqlite", cwd=tmp_path) for _ in range(2))
    assert "a budget of $0.1: 60 of 60 labels for $0.005225" in first.stdout
    assert second.stdout.startswith("a budget of $0.003: 60 of 60 labels for $0.005225")


def test_a_review_ends_with_1_if_something_is_serious(tmp_path):
    """So a hook refuses; a change that is well, and a folder that is no repository, are told apart by what it says."""
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    (tmp_path / "shop.py").write_text("OPEN = True\n")
    for words in ("init --quiet", "add .", "commit --quiet -m start"):
        subprocess.run([*git, *words.split()], cwd=tmp_path, check=True)
    assert run("review_changes", tmp_path).returncode == 0
    (tmp_path / "shop.py").write_text("PASSWORD = 1\n")
    assert run("review_changes", tmp_path).returncode == 1
    unknown = run("review_changes", tmp_path, "nowhere")
    assert unknown.returncode == 1
    assert "unknown revision" in unknown.stderr
    assert "Traceback" not in unknown.stderr


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 AS one", '{"columns":["one"],"rows":[[1]],"more":false}'),
        ("SELECT x'00' AS one", '"rows":[["AA=="]]'),
        ("DELETE FROM sales", "not authorized"),
        ("ATTACH 'other.db' AS other", "not authorized"),
        ("PRAGMA writable_schema = 1", "not authorized"),
        ("SELECT zeroblob(1000000000)", "too big"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", "interrupted"),
        ("SELECT price FROM sales", "no such column"),
    ],
)
async def test_a_query_only_reads(sql, said, tmp_path, monkeypatch):
    """Whatever a model writes, the file stays as it is, no other is opened, and the model is told why."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # importing demo sets it
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    program = importlib.import_module("ask_database")
    monkeypatch.setattr(program, "MOST_SECONDS", 0.05)
    program.make_shop(tmp_path / "shop.db")
    before = (tmp_path / "shop.db").read_bytes()
    script = [[allm.fake.tool_call("query", {"sql": sql})], [allm.fake.text("Done.")]]
    engine = allm.Engine(adapter=Fake(scripts=script), tools=[program.query_tool(tmp_path / "shop.db")])
    result = await allm.chat(engine, "Go on.")
    assert said in result.steps[0].tool_results[0].text
    assert result.output_text == "Done."
    assert (tmp_path / "shop.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]
