# Made by scripts/blocking_stubs.py from the signatures of allm.files.

import os
from pathlib import Path
from typing import Unpack

from allm.data.file_ref import FileRef
from allm.data.media import Media
from allm.execution.services.embedding_stream import Progress
from allm.execution.services.service import UnaryOptions
from allm.runtime.engine import Engine

def delete(engine: Engine, file: FileRef | str, **options: Unpack[UnaryOptions]) -> None: ...
def download(
    engine: Engine, file: FileRef | str, path: str | os.PathLike[str], **options: Unpack[UnaryOptions]
) -> Path: ...
def get(engine: Engine, file: FileRef | str, **options: Unpack[UnaryOptions]) -> FileRef: ...
def list(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[FileRef, ...]: ...
def read(engine: Engine, file: FileRef | str, *, max_bytes: int = ..., **options: Unpack[UnaryOptions]) -> bytes: ...
def upload(
    engine: Engine,
    source: Media | bytes | str | os.PathLike[str],
    *,
    filename: str | None = None,
    expires_in: float | None = None,
    purpose: str | None = None,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> FileRef: ...
