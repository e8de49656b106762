"""Help in plain text, with options and commands in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from .groups import expand_groups

F = TypeVar("F", bound=Callable[..., Any])


def examples(*commands: str) -> str:
    """Return an epilog with examples of commands."""
    return "\n".join(["\b", "Examples:", *(f"  dupmine {command}" for command in commands)])


class App(typer.Typer):
    """A command line whose help lists options and commands under the names of their `rich_help_panel`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, no_args_is_help=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Register a command, with the options of its groups."""
        register = super().command(name, cls=_Command, **options)

        def add(command: F) -> F:
            register(expand_groups(command))
            return command

        return add


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        lists = {name for parameter in self.get_params(ctx) if _is_list(parameter) for name in parameter.opts}
        return super().parse_args(ctx, _repeat_names(args, lists))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)


def _is_list(parameter: Any) -> bool:
    """Return whether an option takes all words up to the next option, as its metavar says by an ellipsis."""
    return bool(parameter.multiple and (parameter.metavar or "").endswith("…"))


def _repeat_names(args: list[str], lists: set[str]) -> list[str]:
    """Return the arguments with the name of an option in `lists` before each of its words.

    A shell makes several words of a pattern: those after the first would be taken for arguments.
    """
    repeated: list[str] = []
    name, is_first = "", False
    for i, word in enumerate(args):
        if word == "--":
            return [*repeated, *args[i:]]
        if word.startswith("-") and word != "-":
            option, equals, _ = word.partition("=")
            name, is_first = option if option in lists else "", not equals
        elif name and not is_first:
            repeated.append(name)
        else:
            is_first = False
        repeated.append(word)
    return repeated


class _Group(TyperGroup):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = formatter.width - 6 - max(map(len, commands))
        _write_groups(
            formatter,
            [
                (
                    getattr(command, "rich_help_panel", None) or "Commands",
                    (name, command.get_short_help_str(width)),
                )
                for name, command in commands.items()
                if command is not None
            ],
        )


def _write_parameters(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    records = []
    for parameter in command.get_params(ctx):
        if record := parameter.get_help_record(ctx):
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            records.append((getattr(parameter, "rich_help_panel", None) or default, record))
    _write_groups(formatter, sorted(records, key=lambda entry: entry[0] == "Options"))


def _write_groups(formatter: Any, entries: list[tuple[str, tuple[str, str]]]) -> None:
    """Write entries under the name of their group, groups in the order of their first entry."""
    groups = defaultdict(list)
    for group, record in entries:
        groups[group].append(record)
    for group, records in groups.items():
        with formatter.section(group):
            formatter.write_dl(records)
