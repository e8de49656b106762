"""Groups of options: a command takes each group as one argument, and its fields are options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, ClassVar, get_type_hints


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options that commands take together; each field is annotated as a parameter of a command.

    Where they stand for settings, the fields have the names of the settings, of `stage` or of several stages.
    """

    stage: ClassVar[str] = ""

    def settings(self) -> dict[str, Any]:
        """Return the settings whose options were given, by name."""
        prefix = f"{self.stage}." if self.stage else ""
        return {f"{prefix}{name}": value for name, value in asdict(self).items() if value is not None}


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose groups are given as their single options, as Typer needs them."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if _is_group(hint)}
    parameters = list(_expand(command, hints))

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # read by inspect
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _expand(command: Callable[..., None], hints: dict[str, Any]) -> Iterator[Parameter]:
    """Yield the parameters of a command; a group gives way to its fields."""
    for name, parameter in signature(command).parameters.items():
        if not _is_group(hints[name]):
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])
            continue
        options = get_type_hints(hints[name], include_extras=True)
        for field in fields(hints[name]):
            default = Parameter.empty if field.default is MISSING else field.default
            yield Parameter(
                field.name, Parameter.KEYWORD_ONLY, default=default, annotation=options[field.name]
            )


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, OptionGroup)
