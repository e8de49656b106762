"""What is worked out once per model, in the user's cache: JSON that is whole or counts as not there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk.files import write_atomically

log = logging.getLogger(__name__)

VARIABLE = "DUPMINE_CACHE"


def cache_folder() -> Path:
    """Return the cache: `DUPMINE_CACHE`, else dupmine in `XDG_CACHE_HOME` or `~/.cache`."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dupmine"


def read_cached(name: str) -> dict[str, Any] | None:
    """Return what was kept under a name, None where that is nothing or damaged."""
    try:
        kept = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
        content = kept["content"]
        whole = kept["sha256"] == _digest(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        log.warning("%s is damaged: it is made again", cache_folder() / name)
        return None
    return dict(content)


def keep_cached(name: str, content: Mapping[str, Any]) -> None:
    """Keep something under a name; without access or space it is made again next time, as the log says."""
    path = cache_folder() / name
    text = json.dumps({"content": content, "sha256": _digest(content)}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        log.warning(
            "%s cannot be written (%s), so that it is worked out again each time; %s names another folder",
            path,
            error.strerror or error,
            VARIABLE,
        )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
