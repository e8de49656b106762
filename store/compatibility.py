"""What must not change between updates of a store: its models and the settings that affect its clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import CorpusSettings, MiningSettings, load_settings
from .commits import Commit

# Settings that may differ from call to call: they say where to read and compute, not what is found.
_PER_CALL = {
    "corpus": CorpusSettings.model_fields.keys() - {"max_tokens"},
    "rerank": {"audit"},
    "compute": {"device", "threads"},
    "store": {"keep_generations"},
}
_NO_MODEL = {"sha256": "none"}  # for stores written before this model existed


def stored_settings(commit: Commit) -> MiningSettings:
    """Return the settings a store was made with.

    Raises:
        SettingsError: another version of dupmine wrote them.
    """
    try:
        return load_settings(overrides=commit.settings)
    except SettingsError as error:
        raise SettingsError(
            f"another version of dupmine wrote the settings of the store ({error}): use that version"
        ) from None


def require_same_settings(store: Path, commit: Commit, settings: MiningSettings) -> None:
    """Refuse settings that would change the clusters of the store.

    Raises:
        SettingsError: a setting differs; the message names it, both values and what to do.
    """
    old, new = stored_settings(commit).model_dump(), settings.model_dump()
    for stage, values in new.items():
        for key, value in values.items():
            if key not in _PER_CALL.get(stage, ()) and value != old[stage][key]:
                raise SettingsError(
                    f"setting {stage}.{key}: {store} was made with {old[stage][key]!r}, not {value!r}: "
                    "leave it out, or change it for all documents with "
                    f"`dupmine store rebuild {store} --set {stage}.{key}={value}`"
                )


def with_stored_precision(commit: Commit, settings: MiningSettings) -> MiningSettings:
    """Return the settings to load models with: the precision `auto` becomes the one the store was made in.

    A store made in int8 keeps `auto`: a machine without int8 is refused by `require_same_models`.
    """
    precisions = {
        model.get("precision", "fp32")
        for model in commit.models.values()
        if "dim" in model or "head" in model
    }
    if settings.compute.precision != "auto" or len(precisions) != 1 or min(precisions).startswith("int8"):
        return settings
    return settings.changed({"compute.precision": precisions.pop()})


def require_same_models(store: Path, commit: Commit, models: dict[str, Any]) -> None:
    """Refuse models other than those that made the stored scores.

    Raises:
        SettingsError: a model differs, even if it has the same name.
    """
    for name, model in ({"cascade": _NO_MODEL} | commit.models).items():
        differ = [key for key, value in model.items() if models[name].get(key) != value]
        label = f"{store}: the {name.replace('_', '-')}"
        if differ == ["precision"]:
            setting = models[name]["precision"].split("+")[0]
            raise SettingsError(
                f"{label} computes in {models[name]['precision']} here, and the store was made in "
                f"{model['precision']}: use such a machine, or recompute with "
                f"`dupmine store rebuild {store} --set compute.precision={setting}`"
            )
        if differ:
            raise SettingsError(
                f"{label} is not the one the store was made with (fingerprint "
                f"{models[name]['sha256'][:12]} instead of {model['sha256'][:12]}): restore that one, or "
                f"recompute with `dupmine store rebuild {store}`"
            )
