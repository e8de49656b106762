"""Calls from Python: mine, score, and a miner that keeps its models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .corpus import corpus_from, read_corpus
from .corpus.unique import normalised_key
from .corpus.values import encodes
from .disk.files import output_errors
from .disk.work import Work
from .errors import InputError, SettingsError
from .inference.tokens import tokenise
from .progress import Progress
from .results.manifest import timed
from .results.result import MiningResult
from .results.run_folder import open_run
from .schema import Corpus, Floats, probabilities
from .settings import MiningSettings, load_settings

if TYPE_CHECKING:
    from .pipeline import Models


class Miner:
    """Settings and, from the first call on, the loaded models."""

    def __init__(
        self,
        settings: MiningSettings | None = None,
        *,
        config: str | Path | None = None,
        progress: bool | None = None,
        **overrides: Any,
    ) -> None:
        """Take settings ready-made, or a YAML file and settings by name, as `threshold=0.8`.

        `progress` shows bars (True), none (False), or bars where there is a terminal or notebook (None).

        Raises:
            SettingsError: an unknown setting or a value out of range.
        """
        if settings is None:
            settings = load_settings(config, overrides)
        elif config is not None:
            raise SettingsError(f"config {config}: there are settings already; give one of the two")
        else:
            settings = settings.changed(overrides)
        self.settings = settings
        self._progress = Progress(progress)

    @cached_property
    def models(self) -> Models:
        """The bi-encoder and the cross-encoder, loaded when first needed."""
        from .pipeline import Models  # torch takes seconds to load: bad input should not wait for it

        return Models.load(self.settings)

    def mine(self, data: object) -> MiningResult:
        """Find the duplicate clusters of texts, of a data frame or Arrow table, or of files.

        Raises:
            DupmineError: bad input, settings or models; see its subclasses.
        """
        with tempfile.TemporaryDirectory(prefix="dupmine-") as folder, output_errors(Path(folder)):
            return self._mine(lambda: corpus_from(data, self.settings.corpus), Work(Path(folder)))

    def mine_files(
        self,
        inputs: Sequence[str | Path],
        out: str | Path,
        *,
        overwrite: bool = False,
        restart: bool = False,
    ) -> MiningResult:
        """Find the duplicate clusters of files and write them to the folder `out`, whole or not at all.

        A run to `out` that was interrupted is continued, or with `restart` discarded.

        Raises:
            DupmineError: bad input, settings or models, or a folder that cannot be written.
        """
        with open_run(Path(out), overwrite=overwrite) as run:
            if restart:
                run.work.clear()
            result = self._mine(lambda: read_corpus(inputs, self.settings.corpus), run.work)
            result.write(run.staging)
        return result

    def _mine(self, read: Callable[[], Corpus], work: Work) -> MiningResult:
        seconds: dict[str, float] = {}
        with timed(seconds, "read"):
            corpus = read()
        with timed(seconds, "load"):
            from .pipeline import check_keep, mine_corpus

            check_keep(self.settings.clustering, corpus.documents)
            models = self.models
        return mine_corpus(corpus, self.settings, models, work, self._progress, seconds)

    def score_pairs(self, pairs: Iterable[tuple[str, str]]) -> Floats:
        """Return the probability that each pair of texts is a duplicate, `(n_pairs,) float32`.

        As in `mine`, equal normalised texts are certain (1), and an empty text is no duplicate (0).

        Raises:
            InputError: an item is no pair of strings.
        """
        checked = [_pair(i, pair) for i, pair in enumerate(pairs)]
        scorer = self.models.scorer
        texts = [text for pair in checked for text in pair]
        tokens = tokenise(
            texts, scorer.tokenizer, max_tokens=self.settings.corpus.max_tokens, progress=self._progress
        )
        rows = np.arange(len(texts))
        probability = probabilities(scorer.score(tokens, rows[::2], rows[1::2], self._progress))
        keys = np.array([normalised_key(text) for text in texts], object).reshape(-1, 2)
        probability[keys[:, 0] == keys[:, 1]] = 1.0
        probability[(keys == "").any(axis=1)] = 0.0
        return probability


def _pair(place: int, pair: object) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
        raise InputError(f"pair {place} (counted from 0): expected two strings, found {pair!r:.80}")
    if not all(map(encodes, pair)):
        raise InputError(f"pair {place} (counted from 0): half of a surrogate pair is no text: {pair!r:.80}")
    return pair[0], pair[1]


def mine(data: object, **settings: Any) -> MiningResult:
    """Find the duplicate clusters of `data`: a list of texts, a pandas, polars or Arrow table, or a path.

    Settings go by name, as `threshold=0.8`, by stage, as `retrieval={"top_k": 20}`, or come from a YAML
    file, as `config="my.yaml"`.

    Raises:
        DupmineError: bad input, settings or models; see its subclasses.
    """
    return Miner(**settings).mine(data)


def score_pairs(pairs: Iterable[tuple[str, str]], **settings: Any) -> Floats:
    """Return the probability that each pair of texts asks the same, `(n_pairs,) float32`.

    Raises:
        DupmineError: bad input, settings or models; see its subclasses.
    """
    return Miner(**settings).score_pairs(pairs)
