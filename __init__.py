"""Find the questions in a corpus that ask the same thing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import (
        CorruptStoreError,
        DupmineError,
        InputError,
        LockError,
        ModelError,
        OutputError,
        SettingsError,
        SpaceError,
    )
    from .miner import Miner, clear_models, link, mine, rank, score_pairs
    from .results.explanation import Explanation
    from .results.links import LinkResult
    from .results.result import MiningResult
    from .settings import MiningSettings, load_settings
    from .store.history import UpdateReport
    from .store.store import Store

__version__ = "0.1.0"

__all__ = [
    "CorruptStoreError",
    "DupmineError",
    "Explanation",
    "InputError",
    "LinkResult",
    "LockError",
    "Miner",
    "MiningResult",
    "MiningSettings",
    "ModelError",
    "OutputError",
    "SettingsError",
    "SpaceError",
    "Store",
    "UpdateReport",
    "clear_models",
    "link",
    "load_settings",
    "mine",
    "rank",
    "score_pairs",
]

_HOMES = {
    "errors": (
        "CorruptStoreError",
        "DupmineError",
        "InputError",
        "LockError",
        "ModelError",
        "OutputError",
        "SettingsError",
        "SpaceError",
    ),
    "results.explanation": ("Explanation",),
    "miner": ("Miner", "clear_models", "link", "mine", "rank", "score_pairs"),
    "store.store": ("Store",),
    "store.history": ("UpdateReport",),
    "results.links": ("LinkResult",),
    "results.result": ("MiningResult",),
    "settings": ("MiningSettings", "load_settings"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `import dupmine` is fast."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
