"""Ask a database in plain words: the model writes SQL, and a tool runs it on a connection that can only read.

    python examples/ask_database.py shop.db "Which product sold best?"      # your own file; default: a small shop

What the model writes is not trusted: SQLite itself refuses all that is not a SELECT in this file, and stops what takes
too long; no more than a few rows go back. An error goes back too, so that the model can mend its query.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import demo
import trio

import allm
from allm import fake

INSTRUCTIONS = "Answer from the database, in a sentence. It is SQLite. Its tables:\n\n"
MOST_ROWS, MOST_BYTES, MOST_SECONDS = 50, 20_000, 5.0  # of an answer, of a value in it, of a query
READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def connect(path: Path) -> sqlite3.Connection:
    """Open a database to read."""
    if not path.is_file():
        sys.exit(f"there is no file {path}")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def allowed(action: int, *_: object) -> int:
    """SQLite asks this about each part of a statement. Without it, ATTACH could open other files, and create them."""
    return sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY


def tables_of(path: Path) -> str:
    """What the model has to know of the database: the statements that made its tables."""
    with closing(connect(path)) as database:
        return ";\n".join(sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'"))


def query_tool(path: Path) -> allm.Tool:
    """The tool that reads a database."""

    @allm.tool
    def query(sql: str) -> dict[str, object]:
        """Run one SELECT.

        Args:
            sql: In the dialect of SQLite.
        """
        print(f"  {sql}")
        end = time.monotonic() + MOST_SECONDS
        with closing(connect(path)) as database:
            database.set_authorizer(allowed)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            database.set_progress_handler(lambda: time.monotonic() > end, 10_000)  # true: SQLite stops the query
            try:
                found = database.execute(sql)
                rows = found.fetchmany(MOST_ROWS + 1)
            except sqlite3.Error as error:
                raise allm.ToolError(str(error), reason="invalid_arguments") from error
            names = [column[0] for column in found.description or ()]
        return {"columns": names, "rows": rows[:MOST_ROWS], "more": len(rows) > MOST_ROWS}

    return query


def plan(asked: demo.Asked) -> list[object] | str:
    """The demo model tries to change something, is refused, then asks properly."""
    match len(asked.results):
        case 0:
            return [fake.tool_call("query", {"sql": "DELETE FROM sales"})]
        case 1:
            sql = "SELECT product, sum(pieces) FROM sales GROUP BY product ORDER BY 2 DESC"
            return [fake.text(f"(refused: {asked.results[0]}) "), fake.tool_call("query", {"sql": sql})]
        case _:
            return f"This is what I found: {asked.results[-1]}"


async def main(path: Path, question: str) -> None:
    """Answer one question."""
    async with demo.engine(plan, tools=[query_tool(path)]) as engine:
        prompt = [allm.system(INSTRUCTIONS + tables_of(path)), allm.user(question)]
        result = await allm.chat(engine, prompt)
        print(allm.unwrap(result))


def make_shop(path: Path) -> None:
    """A small database."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE sales (day TEXT, product TEXT, pieces INTEGER)")
        rows = [("2027-05-03", "kettle", 4), ("2027-05-03", "cup", 9), ("2027-05-04", "cup", 2)]
        database.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)


if __name__ == "__main__":
    if sys.argv[2:]:
        trio.run(main, Path(sys.argv[1]), " ".join(sys.argv[2:]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_shop(Path(folder) / "shop.db")
            trio.run(main, Path(folder) / "shop.db", "Which product sold best?")
