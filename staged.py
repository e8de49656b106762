"""Settings in stages, from a YAML file and overrides, with one line for every mistake in them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import SettingsError

Values = dict[str, Any]

# What PyYAML raises, with Python's own errors for a date that does not exist, an integer of thousands of
# digits, and a thousand levels. UnicodeDecodeError is a ValueError.
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)


class Stage(BaseModel):
    """The settings of one stage, each described by the string below it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class StagedSettings(Stage):
    """Settings of several stages: a subclass has one field per stage, with its defaults."""

    @classmethod
    def stages(cls) -> dict[str, type[BaseModel]]:
        """Return the stages by name."""
        return {name: type(field.default) for name, field in cls.model_fields.items()}

    def to_yaml(self) -> str:
        """Return all settings as YAML that `load_staged` reads back."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    def changed(self, overrides: Mapping[str, Any]) -> Self:
        """Return these settings with overrides, in the form that `load_staged` takes.

        Raises:
            SettingsError: an unknown setting or a value out of range.
        """
        return _validate(type(self), _apply(type(self), self.model_dump(), overrides), source=None)


S = TypeVar("S", bound=StagedSettings)


def load_staged(
    kind: type[S], config: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> S:
    """Build settings from a YAML file and overrides; the overrides win.

    Args:
        kind: the class of the settings.
        config: a YAML file that maps stages to their settings. Both may be left out.
        overrides: a value by `"stage.key"` or by the key alone, as `threshold`; or a mapping of settings by
            the name of their stage.

    Raises:
        SettingsError: a file that cannot be read, an unknown setting or a value out of range.
    """
    values = {} if config is None else _read_yaml(kind, Path(config))
    source = None if config is None else str(config)
    return _validate(kind, _apply(kind, values, overrides or {}), source)


def parse_overrides(texts: Sequence[str]) -> Values:
    """Parse `"stage.key=value"` strings; the values are YAML.

    Raises:
        SettingsError: a string without an equals sign, or a value that is not YAML.
    """
    overrides: Values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text!r:.80}: expected stage.key=value, as rerank.threshold=0.7")
        try:
            overrides[name.strip()] = _parse_yaml(value)
        except _UNREADABLE:
            raise SettingsError(f"--set {text!r:.80}: the value is not valid YAML") from None
    return overrides


def _read_yaml(kind: type[StagedSettings], path: Path) -> Values:
    try:
        loaded = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the config file: {error.strerror}") from None
    except _UNREADABLE as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split()):.300}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(v, dict | None) for v in loaded.values()):
        raise SettingsError(
            f"{path}: expected stages ({', '.join(kind.stages())}) with their settings below them"
        )
    return {str(stage): dict(values or {}) for stage, values in loaded.items()}


def _parse_yaml(text: str) -> Any:
    """Parse YAML without aliases, of which a few lines can stand for more values than memory holds."""
    return yaml.load(text, _PlainLoader)


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # PyYAML's
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read; write the value itself", problem_mark=mark
            )
        return super().compose_node(parent, index)


def _apply(kind: type[StagedSettings], values: Values, overrides: Mapping[str, Any]) -> Values:
    """Put overrides into the values of the stages."""
    for name, value in overrides.items():
        stage, key = _locate(kind, name)
        if key is not None:
            values.setdefault(stage, {})[key] = value
        elif isinstance(value, Mapping):
            values.setdefault(stage, {}).update(value)
        else:
            raise SettingsError(
                f"setting {stage} is a stage: give it a mapping of settings, not {value!r:.80}"
            )
    return values


def _locate(kind: type[StagedSettings], name: str) -> tuple[str, str | None]:
    """Return the stage and the key that an override names; the key is None where it names a stage."""
    stage, dot, key = name.partition(".")
    if dot:
        return stage, key
    stages = kind.stages()
    if name in stages:
        return name, None
    owners = [stage for stage, model in stages.items() if name in model.model_fields]
    if not owners:
        raise SettingsError(_unknown(name, _stage_names(kind) | _setting_names(kind)))
    if len(owners) > 1:
        names = " or ".join(f"{stage}.{name}" for stage in owners)
        raise SettingsError(f"setting {name} is in several stages: write {names}")
    return owners[0], name


def _validate(kind: type[S], values: Values, source: str | None) -> S:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        prefix = f"{source}: " if source else ""
        problems = (_problem(kind, dict(problem)) for problem in error.errors())
        raise SettingsError(prefix + "; ".join(problems)) from None


def _problem(kind: type[StagedSettings], problem: dict[str, Any]) -> str:
    if problem["type"] == "contradiction":
        return str(problem["msg"])
    *stage, key = [f"{part:.80}" if isinstance(part, str) else str(part) for part in problem["loc"]]
    name = ".".join([*stage, key])
    if problem["type"] == "extra_forbidden":
        return _unknown(name, _setting_names(kind) if stage else _stage_names(kind))
    message = problem["msg"].replace("Input should", "should")
    if problem["type"] == "string_pattern_mismatch":
        description = str(kind.stages()[stage[0]].model_fields[key].description)
        message = f"should be {' '.join(description.split())}"
    return f"setting {name}: {message}, not {problem['input']!r:.80}"


def _stage_names(kind: type[StagedSettings]) -> dict[str, str]:
    return {stage: stage for stage in kind.stages()}


def _setting_names(kind: type[StagedSettings]) -> dict[str, str]:
    return {key: f"{stage}.{key}" for stage, model in kind.stages().items() for key in model.model_fields}


def _unknown(name: str, full_names: Mapping[str, str]) -> str:
    """Tell that a setting is unknown, and which of `full_names` (by key) was probably meant."""
    name = name[:80]
    near = difflib.get_close_matches(name.rpartition(".")[2], full_names, n=1, cutoff=0.5)
    hint = f"did you mean {full_names[near[0]]}?" if near else f"known are {', '.join(full_names.values())}"
    return f"unknown setting {name}: {hint}"
