"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import click

__all__ = ["base_url_option", "body_option", "log_options", "model_option", "system_option"]

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


class AddsOption(Protocol):
    """Decorates a command."""

    def __call__(self, command: Command, /) -> Command: ...


model_option: AddsOption = click.option(
    "-m",
    "--model",
    envvar="ALLM_MODEL",
    show_envvar=True,
    metavar="PROVIDER:ID",
    help="The model, such as openai:gpt-5.4-mini, or an alias. `allm models default` sets one for always.",
)
system_option: AddsOption = click.option("-s", "--system", metavar="TEXT", help="Instructions for the model.")
body_option: AddsOption = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the provider's request body; may be repeated. VALUE is JSON or text.",
)
base_url_option: AddsOption = click.option(
    "--base-url", metavar="URL", help="Another server that speaks the provider's format."
)


def log_options(command: Command) -> Command:
    """Add `last`, `conversation` and `log`: which conversation to continue, and whether to keep it."""
    for option in (
        click.option("--log/--no-log", "-L/-n", "log", default=None, help="Keep this conversation, or do not."),
        click.option("--cid", "conversation", metavar="ID", help="Continue this conversation (allm sessions)."),
        click.option("-c", "--continue", "last", is_flag=True, help="Continue the last conversation."),
    ):
        command = option(command)
    return command
