"""Results that are computed once per model, in the user's cache: JSON entries, with a checksum each."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk.files import write_atomically
from ..disk.json_text import parse_json

log = logging.getLogger(__name__)

_VARIABLE = "DUPMINE_CACHE"


def read_cache_entry(name: str) -> dict[str, Any] | None:
    """Return the content of an entry, None where it is missing or damaged."""
    path = _cache_folder() / name
    try:
        entry = parse_json(path.read_text(encoding="utf-8"))
        content = entry["content"]
        intact = entry["sha256"] == _checksum(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        log.warning("%s is damaged and is computed again", path)
        return None
    return dict(content)


def write_cache_entry(name: str, content: Mapping[str, Any]) -> None:
    """Write an entry; where that fails the next run computes it again, as the log says."""
    path = _cache_folder() / name
    text = json.dumps({"content": content, "sha256": _checksum(content)}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        log.warning(
            "%s cannot be written (%s), so every run computes it again; set %s to another folder",
            path,
            error.strerror or error,
            _VARIABLE,
        )


def _cache_folder() -> Path:
    """Return the cache: `DUPMINE_CACHE`, else dupmine in `XDG_CACHE_HOME` or `~/.cache`."""
    if folder := os.environ.get(_VARIABLE):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dupmine"


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
