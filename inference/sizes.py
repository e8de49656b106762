"""Check the sizes in a model's configuration before a model of these sizes is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import ModelError
from .locate import read_config

# A size of the first kind is a dimension of some weights.
_DIMENSION = re.compile(r"hidden_size|intermediate_size|vocab_size|embedding_size|d_model|d_ff|dim|hidden_dim"
                        r"|in_features|out_features")  # fmt: skip
_LAYERS = re.compile(r"(\w+_)?layers?")
_LENGTH = re.compile(r"\w*(position|length|window)\w*")
_SIZE = re.compile(r"(num|n)_\w+|(\w+_)?(size|dim|labels|embeddings|heads|groups|features)")
_LONGEST = 1 << 20  # positions, which rotary models have without weights for them

_ADVICE = "restore the files that belong together, or take another model"


def check_sizes(name: str, folder: Path) -> None:
    """Check every configuration in a model's folder against the shapes of the weights beside it.

    Otherwise a number in a small file decides how much memory and time loading takes.

    Raises:
        ModelError: a size does not fit, or weights cannot be opened.
    """
    for path in sorted(folder.rglob("config.json")):
        shapes = list(_read_shapes(name, path.parent))
        if not shapes:
            continue
        for key, value in _numbers(read_config(path.parent)):
            if not _fits(key, value, shapes):
                raise ModelError(
                    f"model {name}: {path.relative_to(folder)} says {key:.80}: {value:.10g}, and its weights "
                    f"have no such size: {_ADVICE}"
                )


def _fits(key: str, value: float, shapes: list[tuple[int, ...]]) -> bool:
    dimensions = {size for shape in shapes for size in shape}
    largest = max(dimensions, default=0)
    if _LAYERS.fullmatch(key):
        return 0 <= value <= len(shapes)
    if _DIMENSION.fullmatch(key):
        return value in dimensions
    if _LENGTH.fullmatch(key):
        return value <= max(largest, _LONGEST)
    return value <= largest or _SIZE.fullmatch(key) is None


def _read_shapes(name: str, folder: Path) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of all weights in a folder; of a broken file the loader tells more."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb"):
                pass
            with safe_open(path, "numpy") as weights:
                for key in weights.keys():  # noqa: SIM118 - not a dictionary
                    yield tuple(weights.get_slice(key).get_shape())
        except SafetensorError:
            continue
        except OSError as error:
            raise ModelError(f"model {name}: {path} cannot be read ({error.strerror})") from None


def _numbers(values: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers in a configuration with their keys; those of quantised weights have other shapes."""
    if isinstance(values, dict):
        if "quantization_config" not in values:
            for name, value in values.items():
                yield from _numbers(value, name)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield key, values
