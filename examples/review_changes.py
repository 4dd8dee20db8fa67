"""Review what has changed in a git repository: a reader for each file, and findings that a program can act on.

    python examples/review_changes.py . origin/main    # a folder, and since when; default: a repository that it makes

As a hook or in CI it says no: it ends with 1 if a finding is serious. Files are read side by side; one that could not
be reviewed counts as serious, because nobody has looked at it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import attrs
import demo
import trio

import allm

INSTRUCTIONS = (
    "You review one file of a change, given as a diff. Report mistakes in the added lines that you are sure of: bugs, "
    "leaked secrets, missing checks. No matters of taste. Report nothing where nothing is wrong."
)
MOST_CHARACTERS = 60_000  # of a diff; a longer one is generated, as lock files are
READERS = 4


@attrs.frozen
class Finding:
    """A mistake.

    Attributes:
        line: The number of the line in the new file.
        severity: Serious is what must not go out.
        text: What is wrong, and how to mend it, in a sentence.
    """

    line: int
    severity: Literal["serious", "minor"]
    text: str


async def git(folder: Path, *words: str) -> str:
    """What git prints."""
    command = ["git", *words]
    done = await trio.run_process(command, cwd=folder, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr.decode("utf-8", "replace").partition("\n")[0])
    return done.stdout.decode("utf-8", "replace")


async def review(engine: allm.Engine, folder: Path, revision: str) -> bool:
    """Print what is wrong; says whether the change may go out."""
    names = (await git(folder, "diff", "--relative", "--diff-filter=d", "--name-only", "-z", revision)).split("\0")[:-1]
    found: dict[str, list[Finding] | allm.AllmError] = {}
    limit = trio.CapacityLimiter(READERS)

    async def read(name: str) -> None:
        async with limit:
            diff = await git(folder, "diff", "--relative", "--unified=20", revision, "--", name)
            if len(diff) > MOST_CHARACTERS:
                print(f"{name}: left out, its diff has {len(diff)} characters")
                return
            try:
                prompt = [allm.system(INSTRUCTIONS), allm.user(diff)]
                response = await allm.generate(engine, prompt, response_format=list[Finding])
                allm.unwrap(response)  # raises if the call failed, or the answer was cut off
                found[name] = response.parsed()
            except allm.AllmError as error:
                found[name] = error

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(read, name)
    for name, findings in sorted(found.items()):
        if isinstance(findings, allm.AllmError):
            print(f"{name}: not reviewed: {findings}")
            continue
        for finding in sorted(findings, key=lambda finding: finding.line):
            print(f"{name}:{finding.line}: {finding.severity}: {finding.text}")
    serious = [name for name, findings in found.items() if is_serious(findings)]
    print(f"{len(found)} of {len(names)} files reviewed; {'serious: ' + ', '.join(serious) if serious else 'all well'}")
    return not serious


def is_serious(findings: list[Finding] | allm.AllmError) -> bool:
    """Whether a file holds the change up."""
    return isinstance(findings, allm.AllmError) or any(finding.severity == "serious" for finding in findings)


def look(asked: demo.Asked) -> str:
    """The demo model knows one mistake."""
    wrong = {"line": 2, "severity": "serious", "text": "A password is in the code: read it from the environment."}
    return json.dumps({"value": [wrong] if "+PASSWORD" in asked.text else []})


async def main(folder: Path, revision: str) -> bool:
    """Review a folder."""
    async with demo.engine(look) as engine:
        return await review(engine, folder, revision)


def make_repository(folder: Path) -> None:
    """A repository with a change that is not committed."""
    for name in ("shop.py", "till.py"):
        (folder / name).write_text('"""A module."""\n', "utf-8")
    for words in ("init --quiet", "add .", "-c user.name=demo -c user.email=demo@localhost commit --quiet -m start"):
        subprocess.run(["git", *words.split()], cwd=folder, check=True)  # noqa: S603, S607  (constants)
    (folder / "shop.py").write_text('"""A module."""\nPASSWORD = "owl"\n', "utf-8")
    (folder / "till.py").write_text('"""A module."""\nOPEN = True\n', "utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(not trio.run(main, Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "HEAD"))
    with tempfile.TemporaryDirectory() as temporary:
        make_repository(Path(temporary))
        trio.run(main, Path(temporary), "HEAD")
