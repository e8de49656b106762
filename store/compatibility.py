"""What must stay the same while a store lives: the models and every setting that decides about clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import MiningSettings, load_settings
from .commits import Commit

# What may differ from call to call: where to read and compute, not what is found.
_FREE = {
    "corpus": {"text_column", "id_column", "format", "encoding_errors"},
    "rerank": {"audit"},
    "compute": {"device", "threads"},
    "store": {"keep_generations"},
}
_NOTHING = {"sha256": "none"}  # what older stores do not know they are without


def stored_settings(commit: Commit) -> MiningSettings:
    """Return the settings a store was made with."""
    return load_settings(overrides=commit.settings)


def require_same_settings(store: Path, commit: Commit, wanted: MiningSettings) -> None:
    """Refuse settings that would find other clusters than those that are there.

    Raises:
        SettingsError: one differs; the message names it, both values and what to do.
    """
    old, new = stored_settings(commit).model_dump(), wanted.model_dump()
    for stage, values in new.items():
        for key, value in values.items():
            if key not in _FREE.get(stage, ()) and value != old[stage][key]:
                raise SettingsError(
                    f"setting {stage}.{key}: {store} was made with {old[stage][key]!r}, not {value!r}: "
                    "leave it out, or change it for all documents with "
                    f"`dupmine store rebuild {store} --set {stage}.{key}={value}`"
                )


def in_its_precision(commit: Commit, settings: MiningSettings) -> MiningSettings:
    """Return settings to load models with: where the precision is left to the machine, a store keeps its own.

    What was made in int8 is left to the machine, which has it or is refused by `require_same_models`.
    """
    made = {
        model.get("precision", "fp32")
        for model in commit.models.values()
        if "dim" in model or "head" in model
    }
    if settings.compute.precision != "auto" or len(made) != 1 or any(of.startswith("int8") for of in made):
        return settings
    return settings.changed({"compute.precision": made.pop()})


def require_same_models(store: Path, commit: Commit, found: dict[str, Any]) -> None:
    """Refuse other models than those whose scores are there.

    Raises:
        SettingsError: one differs, though its name may be the same.
    """
    for name, model in ({"cascade": _NOTHING} | commit.models).items():
        differ = [key for key, value in model.items() if found[name].get(key) != value]
        called = f"{store}: the {name.replace('_', '-')}"
        if differ == ["precision"]:
            setting = found[name]["precision"].split("+")[0]
            raise SettingsError(
                f"{called} computes in {found[name]['precision']} here, and the store was made in "
                f"{model['precision']}: use it on such a machine, or compute anew with "
                f"`dupmine store rebuild {store} --set compute.precision={setting}`"
            )
        if differ:
            raise SettingsError(
                f"{called} is not the one the store was made with (fingerprint "
                f"{found[name]['sha256'][:12]} instead of {model['sha256'][:12]}): put the old one back, or "
                f"compute anew with `dupmine store rebuild {store}`"
            )
