"""The options of `allm bulk`, and its commands for a journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allm.cli.exit_codes import exit_code_of
from allm.cli.options import AddsOption, base_url_option, body_option, model_option, system_option
from allm.cli.terminal import Terminal

if TYPE_CHECKING:
    from allm.runs.journal import Journal

__all__ = ["bulk"]

_run_option: AddsOption = click.option(
    "--run", "run_name", default="run", show_default=True, metavar="NAME", help="The name of the run in the journal."
)
_full_option: AddsOption = click.option("--full", is_flag=True, help="Whole responses, as allm.from_json reads them.")


class _BulkGroup(click.Group):
    """A group whose command is `ask` where none is named: `allm bulk in.jsonl -o out.jsonl`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["ask", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_BulkGroup)
def bulk() -> None:
    """Ask many inputs: allm bulk INPUT -o OUTPUT. What was answered is kept, and never asked again.

    A line of INPUT (.jsonl) is a text, or an object with "messages" or "prompt", and a "key" of its own if it has one;
    lines of OpenAI's batches will do. In any other file each line is a prompt. `allm bulk ask --help` has the options.
    """


@bulk.command(name="ask")
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("-o", "--output", required=True, metavar="FILE", help="Lines of JSON, in the order of the inputs.")
@model_option
@system_option
@click.option("--limit", type=click.IntRange(min=1), default=16, show_default=True, help="Most calls at once.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="USD", help="Stop before it costs more.")
@click.option("--attempts", type=click.IntRange(min=1), default=4, show_default=True, help="Of each input.")
@click.option("--max-failures", type=click.IntRange(min=0), metavar="COUNT", help="More failures end the run.")
@click.option("--journal", metavar="FILE|URL", help="Where answers are kept (OUTPUT.sqlite), or PostgreSQL.")
@click.option("--resume", is_flag=True, help="Go on with the journal of an earlier run.")
@click.option("--rerun-changed", is_flag=True, help="With --resume: ask again what is not what it was.")
@click.option("--dedupe", is_flag=True, help="Ask inputs that are the same once.")
@click.option("--force", is_flag=True, help="Overwrite OUTPUT, and begin anew.")
@body_option
@base_url_option
@_run_option
@_full_option
@click.pass_context
def ask(context: click.Context, /, **given: Any) -> None:
    """Ask every line of INPUT, and write the answers to OUTPUT.

    Ctrl-C finishes what is under way; a second one ends at once. --resume goes on after any end.
    """
    context.exit(exit_code_of(context.obj, lambda: _asked(context.obj, given, retry="retryable")))


def _asked(terminal: Terminal, given: dict[str, Any], retry: str) -> int:
    from allm.cli.bulk import Bulk
    from allm.cli.bulk_input import BulkLines, count_lines
    from allm.cli.inputs import engine_of, options_of

    source, output = str(given["source"]), str(given["output"])
    place = given["journal"] or f"{output}.sqlite"
    engine = engine_of(given["model"], given["base_url"])
    options = options_of(given["options"])
    file = None if source == "-" else Path(source)
    if output != "-" and Path(output).exists() and not (given["force"] or given["resume"]):
        raise click.UsageError(f"{output} exists. --force overwrites it, --resume goes on with its run.")
    journal = _opened(place, given)
    try:
        journal.note(settings={**given, "source": str(file.absolute()) if file else source})
        with terminal.stdin.buffer if file is None else file.open("rb") as lines:
            inputs = BulkLines(
                lines=lines,
                name="Standard input" if file is None else source,
                as_json=file is None or file.suffix in {".jsonl", ".json", ".ndjson"},
                system=given["system"],
            )
            settings = {name: given[name] for name in ("limit", "budget", "attempts", "max_failures", "dedupe")}
            return Bulk(
                engine=engine,
                requests=inputs,
                journal=journal,
                settings={
                    **settings,
                    "journal": journal,
                    "run": given["run_name"],
                    "key": inputs.key,
                    "retry": retry,
                    "changed": "rerun" if given["rerun_changed"] else "error",
                    "options": options,
                },
                total=None if file is None else count_lines(file),
                output=output,
                full=given["full"],
                terminal=terminal,
            ).run()
    finally:
        journal.close()


def _opened(place: str, given: dict[str, Any]) -> Journal:
    """The journal of a run that may begin.

    Raises:
        click.UsageError: It has a run, and none is to be resumed or overwritten.
        BulkError: It cannot be used.
    """
    from allm.runs.journal import open_journal

    is_file = "://" not in place
    if given["force"] and not given["resume"] and is_file:
        open_journal(place, given["run_name"]).close()  # refused while another run has it
        for path in (place, f"{place}-wal", f"{place}-shm"):
            Path(path).unlink(missing_ok=True)
    journal = open_journal(place, given["run_name"])
    totals = journal.totals()
    if (totals.done or totals.failed or totals.open) and not given["resume"]:
        journal.close()
        anew = "--force begins anew" if is_file else "--run NAME begins another"
        raise click.UsageError(f"The journal {place} has an earlier run. --resume goes on with it, {anew}.")
    return journal


@bulk.command()
@click.argument("journal", metavar="JOURNAL")
@click.option("-o", "--output", default="-", metavar="FILE", help="Default: standard output.")
@click.option("--failed", is_flag=True, help="Only the failures.")
@_run_option
@_full_option
@click.pass_context
def export(context: click.Context, journal: str, *, output: str, failed: bool, run_name: str, full: bool) -> None:
    """Write what a journal has, also while a run goes on."""
    from allm.cli.bulk_export import export as write

    terminal: Terminal = context.obj

    def work() -> int:
        opened = _read(journal, run_name)
        try:
            write(opened, output, terminal, failed=failed, full=full)
        finally:
            opened.close()
        return 0

    context.exit(exit_code_of(terminal, work))


@bulk.command()
@click.argument("journal", metavar="JOURNAL")
@_run_option
@click.pass_context
def retry(context: click.Context, journal: str, *, run_name: str) -> None:
    """Ask the failures of a run again, all of them, with the arguments it was begun with."""
    terminal: Terminal = context.obj

    def work() -> int:
        opened = _read(journal, run_name)
        try:
            settings = opened.totals().settings
        finally:
            opened.close()
        if "source" not in settings or settings["source"] == "-":
            raise click.UsageError(f"The journal {journal} does not say where its inputs are: run it with --resume.")
        given = {**settings, "journal": journal, "resume": True, "force": False}
        return _asked(terminal, given, retry="all")

    context.exit(exit_code_of(terminal, work))


@bulk.command()
@click.argument("journal", metavar="JOURNAL")
@_run_option
@click.pass_context
def status(context: click.Context, journal: str, *, run_name: str) -> None:
    """Say how far a run is, also while it goes on."""
    from allm.cli.bulk import dollars

    terminal: Terminal = context.obj

    def work() -> int:
        opened = _read(journal, run_name)
        try:
            totals, batches = opened.totals(), opened.batches()
        finally:
            opened.close()
        ended = totals.done + totals.failed + totals.open
        of = f" of {totals.inputs}" if totals.inputs is not None else ""
        terminal.stdout.write(f"{ended}{of} inputs have ended: {totals.done} answered, {totals.failed} failed")
        terminal.stdout.write(f", {totals.open} failed and will be asked again" if totals.open else "")
        terminal.stdout.write(f"; {dollars(totals.spent)}\n" if totals.spent else "\n")
        if batches:
            terminal.stdout.write(f"{sum(len(batch.items) for batch in batches)} inputs are with the provider\n")
        return 0

    context.exit(exit_code_of(terminal, work))


def _read(place: str, run_name: str) -> Journal:
    from allm.runs.journal import open_journal

    if "://" not in place and not Path(place).exists():
        raise click.UsageError(f"There is no journal {place}.")
    return open_journal(place, run_name, reads_only=True)
