"""JSON from outside."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, or has more levels or longer integers than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it has too many levels") from None
