"""The token store: every unique text tokenised once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ..progress import Progress
from ..schema import TokenStore

_CHUNK = 8192


def tokenise(
    texts: Sequence[str], tokenizer: Tokenizer, *, max_tokens: int, progress: Progress
) -> TokenStore:
    """Tokenise every text once, keeping at most `max_tokens` of each."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    parts: list[npt.NDArray[np.int32]] = []
    lengths = np.zeros(len(texts), np.int64)
    truncated = 0
    with progress.bar("tokenise", len(texts), "texts") as bar:
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            for i, encoding in enumerate(plain.encode_batch_fast(chunk, add_special_tokens=False), start):
                truncated += len(encoding.ids) > max_tokens
                parts.append(np.asarray(encoding.ids[:max_tokens], np.int32))
                lengths[i] = len(parts[-1])
            bar.update(len(chunk))
    ids = np.concatenate(parts) if parts else np.empty(0, np.int32)
    return TokenStore(ids, np.concatenate([[0], np.cumsum(lengths)]), truncated)
