"""The prompt of `allm generate`: what is piped in, files, folders, attachments, and the argument."""

from __future__ import annotations

import io
import os
import shutil
import sys

import pytest
import trio

from allm import fake
from allm.cli import attachments, files, standard_input
from allm.testing import Reply

ANSWER = [fake.text("Yes.")]
PIXEL = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def sent(server, to_server, allm_main):
    """Run `generate`, and return the content of the message that was sent."""

    async def run(*arguments):
        server.add(Reply.script("openai", ANSWER))
        code, output, errors = await allm_main("generate", *arguments, *to_server)
        assert (code, output) == (0, "Yes.\n"), errors
        return server.requests[-1].json()["messages"][-1]["content"]

    return run


@pytest.fixture
def piped(monkeypatch):
    """Make bytes standard input."""

    def pipe(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    return pipe


async def test_piped_text_goes_before_the_prompt(sent, piped):
    """Both are sent, with a blank line between them."""
    piped("Grüße\n\n".encode())

    assert await sent("Translate this.") == "Grüße\n\nTranslate this."


@pytest.mark.parametrize("data", [b"", b" \n"])
async def test_an_empty_pipe_is_nothing(sent, piped, data):
    """The prompt is sent alone."""
    piped(data)

    assert await sent("Hello.") == "Hello."


async def test_files_go_first_with_names_and_fences(sent, piped, tmp_path, monkeypatch):
    """In their order, each in a fence that is longer than those inside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.md").write_text("```\nx\n```")
    (tmp_path / "a.py").write_text("x = 1\n")
    piped(b"piped\n")

    content = await sent("-f", "b.md", "--file", "a.py", "Why?")

    assert content == "b.md\n````md\n```\nx\n```\n````\n\na.py\n```py\nx = 1\n```\n\npiped\n\nWhy?"


async def test_files_need_no_prompt(sent, tmp_path, monkeypatch, terminal):
    """Nor does an image; a terminal is not read."""
    monkeypatch.setattr(sys, "stdin", terminal.stdin)
    (tmp_path / "a").write_bytes("é".encode("utf-16"))
    (tmp_path / "cat.png").write_bytes(PIXEL)

    assert await sent("-f", str(tmp_path / "a")) == f"{tmp_path}/a\n```\né\n```"
    assert [part["type"] for part in await sent("-a", str(tmp_path / "cat.png"))] == ["image_url"]


async def test_standard_input_can_be_a_file_or_an_attachment(sent, piped):
    """`-f -` gives it a name, `-a -` takes an image."""
    piped(b"x\n")
    assert await sent("-f", "-", "Why?") == "standard input\n```\nx\n```\n\nWhy?"
    piped(PIXEL)
    assert (await sent("-a", "-", "Why?"))[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


async def test_files_of_other_kinds_are_sent_as_they_are(sent, tmp_path):
    """By their bytes or their names, by `-f` as by `-a`; a text that is attached is a document."""
    (tmp_path / "doc").write_bytes(b"%PDF-1.7\0")
    (tmp_path / "song.mp3").write_bytes(b"ID3\0")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "notes.txt").write_text("owls")

    names = [str(tmp_path / name) for name in ("doc", "song.mp3", "clip.mp4", "notes.txt")]
    _, *attached = await sent("What?", *[word for name in names for word in ("-a", name)])
    assert [part["type"] for part in attached] == ["file", "input_audio", "video_url", "text"]
    assert attached[0]["file"]["filename"] == "doc"
    assert attached[3]["text"] == '<document title="notes.txt">\nowls\n</document>'

    _, *attached = await sent("x.png", "-f", names[0], "-f", names[1])
    assert [part["type"] for part in attached] == ["file", "input_audio"]


async def test_a_document_keeps_its_name(sent, tmp_path):
    """Of two reports the model is to know which is which: with -f as with -a."""
    for name in ("spring.pdf", "summer.pdf"):
        (tmp_path / name).write_bytes(b"%PDF-1.7\0")
    parts = await sent("-f", str(tmp_path / "spring.pdf"), "-a", str(tmp_path / "summer.pdf"), "Compare")

    assert [part["file"]["filename"] for part in parts if part["type"] == "file"] == ["spring.pdf", "summer.pdf"]


async def test_instructions_can_be_in_files(server, sent, tmp_path):
    """After those of `--system`, as they are."""
    (tmp_path / "a").write_text("Be kind.\n")

    await sent("Hi.", "-s", "Be brief.", "--sf", str(tmp_path / "a"), "--system-file", str(tmp_path / "a"))

    system, _ = server.requests[-1].json()["messages"]
    assert system == {"role": "system", "content": "Be brief.\n\nBe kind.\n\nBe kind."}


async def test_an_image_file_is_an_image(sent, tmp_path):
    """Whatever its name says, by `-f` as by `-a`; it stands after the text."""
    (tmp_path / "cat.txt").write_bytes(PIXEL)

    text, *pictures = await sent("-f", str(tmp_path / "cat.txt"), "What?", "-a", "https://example.com/dog.png")

    assert text == {"type": "text", "text": "What?"}
    assert [picture["image_url"]["url"][:22] for picture in pictures] == [
        "data:image/png;base64,",
        "https://example.com/do",
    ]


async def test_a_name_that_is_not_text_is_shown_as_far_as_it_is(sent, tmp_path):
    """File names are bytes; what is sent is text."""
    path = tmp_path / "a\udcff.txt"
    path.write_text("x")

    assert await sent("-f", str(path)) == f"{tmp_path}/a?.txt\n```txt\nx\n```"


@pytest.fixture
def folder(tmp_path):
    """A folder with a bit of everything."""
    for name, data in {
        "z.txt": b"z",
        "a/b.py": b"b",
        "a/.secret": b"s",
        ".env": b"KEY=1",
        "build/out.txt": b"made",
        "node_modules/x.js": b"x",
        "__pycache__/x.txt": b"x",
        "env/pyvenv.cfg": b"x",
        "photo.png": PIXEL,
        "big.txt": b"x" * (files.LARGEST_IN_FOLDER + 1),
    }.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "work" / "link.txt").symlink_to("z.txt")
    (tmp_path / "work" / "loop").symlink_to(".", target_is_directory=True)
    return tmp_path / "work"


def names(content):
    """The names of the files in a message."""
    return [part.split("\n")[0].rpartition("work/")[2] for part in content.split("\n\n")[:-1]]


async def test_a_folder_is_its_text_files_in_order(server, to_server, allm_main, folder):
    """Not what is hidden, linked, made by tools, binary or too large; the last two are told."""
    server.add(Reply.script("openai", ANSWER))

    code, _, errors = await allm_main("generate", "-f", str(folder), "Why?", *to_server)

    assert code == 0
    assert names(server.requests[-1].json()["messages"][0]["content"]) == ["a/b.py", "build/out.txt", "z.txt"]
    assert errors.endswith("2 files were left out (1 not text, 1 larger than 1 MB)\n")


async def test_what_git_ignores_is_left_out(sent, folder):
    """Where there is git, its rules are known, also those of a folder further up."""
    await trio.run_process([shutil.which("git"), "init", "-q", folder.parent])
    (folder.parent / ".gitignore").write_text("build\nnode_modules\n*.txt\n!z.txt\n")

    assert names(await sent("-f", str(folder), "Why?")) == ["a/b.py", "env/pyvenv.cfg", "z.txt"]


async def test_a_pipe_with_a_name_is_a_file(sent, tmp_path):
    """As a shell makes them for `-f <(command)`."""
    reading, writing = os.pipe()
    os.write(writing, b"from a command")
    os.close(writing)
    try:
        assert "from a command" in await sent("-f", f"/dev/fd/{reading}", "Why?")
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-f", "{folder}/missing.txt"], "No such file"),
        (["-f", ""], "the name of the file is empty"),
        (["-f", "a\0b"], "not the name of a file"),
        (["-f", "{folder}/odd"], "is not UTF-8 text"),
        (["-f", "{folder}/empty"], "has no text files"),
        (["-f", "{folder}/binaries"], "has no text files (1 file was left out (1 not text))"),
        (["-a", "{folder}/archive.zip"], "is application/zip; only images, documents, audio and videos can be sent"),
        (["-a", "{folder}/odd"], "is of no known type; only images"),
        (["-a", "{folder}/nothing"], "is empty"),
        (["-a", "{folder}/missing.png"], "No such file"),
        (["-a", "data:text/plain,hi"], "data:text/plain,hi: not a base64 data URI"),
        (["-f", "-", "--sf", "-"], "cannot be read for both --sf - and -f -"),
        (["--sf", "{folder}/doc.pdf"], "is application/pdf; only texts can be sent: pdftotext"),
        (["--sf", "{folder}/empty"], "Is a directory"),
        (["-f", "-", "-"], "cannot be read for both"),
    ],
)
async def test_what_cannot_be_sent_is_wrong_usage(allm_main, piped, tmp_path, arguments, says):
    """Nothing is sent; the option, the file and what it is are named, and no Python."""
    piped(b"text")
    (tmp_path / "doc.pdf").write_bytes(b"%PDF-1.7\0")
    (tmp_path / "archive.zip").write_bytes(b"PK\3\4\xff")
    (tmp_path / "odd").write_bytes(b"\xff\xff")
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "nothing").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "binaries").mkdir()
    (tmp_path / "binaries" / "x").write_bytes(b"\0")
    arguments = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]

    code, output, errors = await allm_main("generate", "-m", "openai:x", *arguments)

    assert (code, output) == (2, "")
    assert says in " ".join(errors.split())


@pytest.mark.parametrize("how", ["file", "folder", "pipe", "attached pipe"])
async def test_too_much_is_wrong_usage(allm_main, piped, tmp_path, monkeypatch, how):
    """One limit for all texts together, and the error says it."""
    for module in (files, standard_input):
        monkeypatch.setattr(module, "LARGEST_INPUT", 2000)
    monkeypatch.setattr(attachments, "LARGEST_PIPE", 2000)
    piped(b"x" * 2001 if how == "pipe" else b"")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x" * 1500)
    (tmp_path / "c").write_text("x" * 2001)
    reading, writing = os.pipe()
    os.write(writing, b"x" * 2001)
    os.close(writing)
    arguments = {
        "file": ["-f", str(tmp_path / "c")],
        "folder": ["-f", str(tmp_path)],
        "pipe": ["Why?"],
        "attached pipe": ["-a", f"/dev/fd/{reading}"],
    }[how]

    code, _, errors = await allm_main("generate", "-m", "openai:x", *arguments)
    os.close(reading)

    assert code == 2
    assert "longer than 2 kB" in " ".join(errors.split())
