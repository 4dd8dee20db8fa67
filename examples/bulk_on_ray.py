"""Many requests on a Ray cluster: Ray hands out the parts, and a journal in PostgreSQL decides what is done.

    pip install '.[cli,postgres]' ray
    export ALLM_JOURNAL=postgresql://user@host/database      # and the model's key: where `ray start` is called, too
    export ALLM_MODEL=openai:gpt-5.4-mini RAY_ADDRESS=host:6379
    python examples/bulk_on_ray.py reviews.txt labels-1      # each line is an input; again: what is not done
    allm bulk status $ALLM_JOURNAL --run labels-1

Each part is a task of Ray, which runs a loop of Trio of its own. When a worker or a node dies, Ray runs its parts
elsewhere, and what the journal has is not asked again. docs/distributed.md has the details.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import ray
import trio

import allm

PART = int(os.environ.get("ALLM_PART", "500"))  # inputs: minutes of work, so that a task is worth its start
LIMIT = int(os.environ.get("ALLM_LIMIT", "64"))  # calls at once in a task


@ray.remote(max_retries=-1)  # a node that dies is no fault of its part
def part(model: str, limit: int, run: str, first: int, texts: list[str]) -> str:
    """Ask one part of a run; whoever has large inputs passes where they are, and reads them here."""
    engine = allm.Engine.from_model(model)
    shard = functools.partial(
        allm.run_shard, engine, texts, first=first, run=run, journal=os.environ["ALLM_JOURNAL"], limit=limit
    )
    try:
        return str(trio.run(shard))
    except allm.BulkError as error:  # as text: not every exception can be sent
        return f"{run} from {first} on ended early; run it again to go on: {error}"


def main(path: str, run: str) -> None:
    """Ask every line of a file."""
    model = os.environ["ALLM_MODEL"]
    texts = Path(path).read_text("utf-8").splitlines()
    ray.init(log_to_driver=False)  # RAY_ADDRESS, or a cluster of this machine alone
    waiting = [
        part.remote(model, LIMIT, run, first, texts[first : first + PART]) for first in range(0, len(texts), PART)
    ]
    while waiting:
        [done], waiting = ray.wait(waiting)
        print(ray.get(done), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
