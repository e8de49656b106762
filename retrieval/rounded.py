"""Products of many vectors at once: which of them may reach a floor, and the exact cosines of those."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from ..errors import ModelError
from ..schema import Floats, Rows
from .encoder import Embeddings
from .plan import Positions

_BLOCK = 65_536
_GROUP = 256  # products that are looked at one by one only if the largest of them is large enough
_PAIRS = 256  # of which both sides fit the cache
_PAIRS_GPU = 1 << 18
_SLACK = 1e-4  # more than single precision loses in a sum or a rotation
_HALF_PRECISION = 2**-8  # more than half precision loses where a GPU may sum in it, too


@dataclass(frozen=True, slots=True)
class Rounded:
    """Vectors in the number format whose products the device computes fastest.

    `codes` is `(n + padding, dim)`, zero from row n on, a multiple of 256 rows; the product of two, times
    `unit`, is at most `error` away from their cosine.
    """

    codes: torch.Tensor
    n: int
    unit: float
    error: float

    @property
    def are_exact(self) -> bool:
        """Whether the codes are the vectors as they were."""
        return self.codes.dtype == torch.float16

    def near(self, positions: Positions, others: range, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places in `positions` and in `others` of pairs, all that reach the floor among them."""
        floor = floor if floor > -1 else -2  # a product may be a little less than the cosine it is clipped to
        least = (floor - self.error) / self.unit
        stop = len(self.codes) if others.stop == self.n else others.stop
        chosen = self.codes[torch.from_numpy(positions).to(self.codes.device)]
        at, other = _find_large(chosen, self.codes[others.start : stop], least)
        inside = other < len(others)
        return at[inside], other[inside]

    def cosines(self, left: Positions, right: Positions) -> Floats:
        """Return those of `pair_cosines`, computed where the vectors are; they must be exact."""
        out = np.empty(len(left), np.float32)
        step = _PAIRS_GPU if self.codes.is_cuda else _PAIRS
        for start in range(0, len(left), step):
            part = slice(start, start + step)
            sides = (torch.from_numpy(side[part]).to(self.codes.device) for side in (left, right))
            a, b = (self.codes[side].float() for side in sides)
            # Single precision holds the product of two halves, double precision a sum of such products.
            out[part] = (a * b).sum(1, dtype=torch.float64).float().cpu().numpy()
        return np.clip(out, -1.0, 1.0)


def round_vectors(embeddings: Embeddings, device: torch.device, order: Rows | None = None) -> Rounded:
    """Bring the rows of `embeddings`, unit vectors, into a device's fastest format and into an order.

    Raises:
        ModelError: a vector has an infinite element, or NaN.
    """
    on_gpu = device.type == "cuda"
    if not on_gpu and _multiplies_int8():
        return _as_bytes(embeddings, order)
    codes = _padded(embeddings, torch.float16, device if on_gpu else torch.device("cpu"))
    for start, rows in _parts(embeddings, order):
        codes[start : start + len(rows)] = torch.from_numpy(rows.copy()).to(codes.device)
    return Rounded(codes, len(embeddings), 1.0, _HALF_PRECISION if on_gpu else _SLACK)


def _as_bytes(embeddings: Embeddings, order: Rows | None) -> Rounded:
    """Turn the vectors at random, by which their elements become normally distributed, and round those."""
    n, dim = embeddings.shape
    step = min(1.0, 6 / math.sqrt(dim)) / 127  # up to six standard deviations
    codes = _padded(embeddings, torch.int8, torch.device("cpu"))
    longest = furthest = 0.0
    for start, rows in _parts(embeddings, order):
        vectors = torch.from_numpy(rows.astype(np.float32)) @ _random_rotation(dim)
        rounded = (vectors / step).round_().clamp_(-127, 127)
        codes[start : start + len(rows)] = rounded
        longest = max(longest, float(vectors.norm(dim=1).max()))
        furthest = max(furthest, float(vectors.sub_(rounded, alpha=step).norm(dim=1).max()))
    # Cauchy and Schwarz: |<a, b> - <a', b'>| <= |a - a'| |b| + |a'| |b - b'|
    return Rounded(codes, n, step * step, furthest * (2 * longest + furthest) + _SLACK)


@cache  # it takes longer than the search among a few texts
def _random_rotation(dim: int) -> torch.Tensor:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
    return torch.from_numpy(rotation).float()


def _padded(embeddings: Embeddings, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    n, dim = embeddings.shape
    return torch.zeros((-(-n // _GROUP) * _GROUP, dim), dtype=dtype, device=device)


def _parts(embeddings: Embeddings, order: Rows | None) -> Iterator[tuple[int, Embeddings]]:
    for start in range(0, len(embeddings), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = np.asarray(embeddings[part if order is None else order[part]])
        if not np.isfinite(rows).all():
            raise ModelError("the bi-encoder gave vectors that are not finite: try compute.precision=fp32")
        yield start, rows


def _multiplies_int8() -> bool:
    """Whether the processor sums products of bytes without saturation, and so faster than floats."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    known = ("avx512_vnni", "avx_vnni", "amx_int8")
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and any(capabilities.get(name) for name in known)


def _find_large(a: torch.Tensor, b: torch.Tensor, least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places in `a` and in `b` of the codes whose product is at least `least`."""
    if a.dtype == torch.int8:
        least = math.ceil(least)
    width = len(b)
    group = _GROUP if width % _GROUP == 0 else width
    products = _multiply(a, b).view(-1, group)
    hot = (products.amax(1) >= least).nonzero()[:, 0]
    row, column = (products[hot] >= least).nonzero(as_tuple=True)
    flat = hot[row] * group + column
    return flat // width, flat % width


def _multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.dtype == torch.int8:
        return torch._int_mm(a, b.T)
    return a @ b.T if a.is_cuda else a.float() @ b.float().T


def pair_cosines(embeddings: Embeddings, left: Positions, right: Positions) -> Floats:
    """Return the cosine of each pair of rows, `(n_pairs,) float32`, the same whatever the batch or machine.

    In double precision a sum of products of half-precision numbers is exact, in any order.
    """
    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), _PAIRS):
        part = slice(start, start + _PAIRS)
        a, b = (np.asarray(embeddings[side[part]], np.float64) for side in (left, right))
        out[part] = np.einsum("ij,ij->i", a, b)
    return np.clip(out, -1.0, 1.0)


def block_cosines(embeddings: Embeddings, rows: Positions, others: Positions) -> Floats:
    """Return the cosines of some rows with others, `(n_rows, n_others)`: those of `pair_cosines`."""
    a, b = (torch.from_numpy(np.asarray(embeddings[side], np.float64)) for side in (rows, others))
    return np.clip((a @ b.T).numpy().astype(np.float32), -1.0, 1.0)
