"""The Python API: mine, score pairs, and a miner that keeps its models."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from .clustering import check_keep
from .corpus import corpus_from, read_corpus
from .corpus.memory import pairs_from
from .corpus.sources import STDIN
from .corpus.unique import normalised_key
from .corpus.values import encodes
from .disk.files import output_errors
from .disk.work import Work
from .errors import InputError, SettingsError, speaks_python
from .inference.tokens import tokenise
from .keywords import SettingKeywords
from .progress import Progress
from .results.manifest import timed
from .results.result import MiningResult
from .results.run_folder import open_run
from .schema import CandidatePairs, Corpus, Floats, Rows, probabilities
from .settings import MiningSettings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from .pipeline import Models
    from .results.links import LinkResult


class Miner:
    """Settings and, from the first call on, the loaded models.

    Examples:
        >>> miner = Miner(threshold=0.8, progress=False)
        >>> miner.score_pairs([("How do I learn Python?", "how do I  learn python?")]).tolist()
        [1.0]
    """

    def __init__(
        self,
        settings: MiningSettings | None = None,
        *,
        config: str | Path | None = None,
        progress: bool | None = None,
        **overrides: Unpack[SettingKeywords],
    ) -> None:
        """Take the settings; the models are loaded when a call needs them.

        Args:
            settings: all settings, as `load_settings` returns them.
            config: instead of `settings`, a YAML file with any of them.
            progress: whether to show progress bars; None shows them in a terminal or notebook.
            overrides: single settings by key, as `threshold=0.8`, or by stage, as
                `rerank={"threshold": 0.8}`.

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
        self._load: Callable[[MiningSettings], Models] = _load_models

    @cached_property
    def models(self) -> Models:
        """The bi-encoder and the cross-encoder, loaded when first needed."""
        with self._progress.message("loading models"):
            return self._load(self.settings)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle keeps: the settings; the models are loaded again where it is used."""
        return {name: value for name, value in vars(self).items() if name != "models"}

    def __repr__(self) -> str:
        """Return the settings that differ from the defaults, and whether the models are loaded."""
        changed = self.settings.model_dump(exclude_defaults=True)
        settings = [f"{name}={value!r}" for stage in changed.values() for name, value in stage.items()]
        return f"Miner({', '.join([*settings, 'loaded' if 'models' in vars(self) else 'not loaded'])})"

    @contextmanager
    def _computing(self, seconds: dict[str, float] | None = None) -> Iterator[Models]:
        """Yield the models and use the threads of the settings; `seconds` gets the time of loading."""
        with ExitStack() as stack:
            with timed({} if seconds is None else seconds, "load"):
                from .inference.threads import using_threads  # with torch, for which bad input does not wait

                stack.enter_context(using_threads(self.settings.compute.threads))
                models = self.models
            models.compute.require_same_process()
            yield models

    @speaks_python
    def mine(self, data: object) -> MiningResult:
        """Find the duplicate clusters of texts, of a data frame or Arrow table, or of files.

        Args:
            data: what `dupmine.mine` takes.

        Raises:
            DupmineError: bad input, settings or models; see its subclasses.
        """
        with tempfile.TemporaryDirectory(prefix="dupmine-") as folder, output_errors(Path(folder)):
            return self._mine(lambda: corpus_from(data, self.settings.corpus), Work(Path(folder)))

    @speaks_python
    def mine_files(
        self,
        inputs: Sequence[str | Path],
        out: str | Path,
        *,
        overwrite: bool = False,
        restart: bool = False,
    ) -> MiningResult:
        """Find the duplicate clusters of files and write them to a folder, whole or not at all.

        Args:
            inputs: files, folders or globs.
            out: the folder. An interrupted run to it is continued.
            overwrite: replace an earlier run in `out`.
            restart: discard an interrupted run to `out` instead.

        Raises:
            DupmineError: bad input, settings or models, or a folder that cannot be written.
        """
        with open_run(Path(out), overwrite=overwrite) as run:
            if restart:
                run.work.clear()
            result = self._mine(lambda: read_corpus(inputs, self.settings.corpus), run.work)
            result.write(run.staging)
        return result

    @speaks_python
    def link(self, new: object, reference: object, *, top: int = 5, within: bool = False) -> LinkResult:
        """Find the texts of a reference that ask the same as new texts; see `dupmine.link`.

        Raises:
            DupmineError: bad input, settings or models; see its subclasses.
        """
        from .linker import read_reference

        corpus = self.settings.corpus
        readers = (lambda: corpus_from(new, corpus), lambda: read_reference(reference, corpus))
        with tempfile.TemporaryDirectory(prefix="dupmine-") as folder, output_errors(Path(folder)):
            return self._link(*readers, Work(Path(folder)), top=top, within=within)

    @speaks_python
    def link_files(  # noqa: PLR0913 - those of mine_files, the reference and two options
        self,
        inputs: Sequence[str | Path],
        reference: Sequence[str | Path],
        out: str | Path,
        *,
        top: int = 5,
        within: bool = False,
        overwrite: bool = False,
        restart: bool = False,
    ) -> LinkResult:
        """Find the texts of a reference that ask the same as those of files, and write them to a folder.

        Args:
            inputs: files, folders or globs with the new documents.
            reference: the same, or the folder of a run or of a store.
            out: the folder, written whole or not at all. An interrupted run to it is continued.
            top: at most so many matches of each new document are kept.
            within: also mine the new documents without a match among themselves.
            overwrite: replace an earlier link run in `out`.
            restart: discard an interrupted run to `out` instead.

        Raises:
            DupmineError: bad input, settings or models, or a folder that cannot be written.
        """
        from .linker import read_references
        from .results.links import FILES

        corpus = self.settings.corpus
        if STDIN in inputs and STDIN in reference:
            raise InputError("standard input (-) is read once: it cannot be both the input and the reference")
        readers = (lambda: read_corpus(inputs, corpus), lambda: read_references(reference, corpus))
        with open_run(Path(out), overwrite=overwrite, files=FILES) as run:
            if restart:
                run.work.clear()
            result = self._link(*readers, run.work, top=top, within=within)
            result.write(run.staging)
        return result

    def _link(
        self,
        read_new: Callable[[], Corpus],
        read_reference: Callable[[], Corpus],
        work: Work,
        *,
        top: int,
        within: bool,
    ) -> LinkResult:
        if top < 1:
            raise SettingsError(f"top is {top}: at least one match of each new document is kept")
        seconds: dict[str, float] = {}
        with timed(seconds, "read"):
            new, reference = read_new(), read_reference()
        if within:
            check_keep(self.settings.clustering, new.documents)
        with self._computing(seconds) as models:
            from .linker import link_corpora, mine_unmatched, start_link

            given = self.settings, models, work, self._progress
            result = link_corpora(new, reference, start_link(new, *given, seconds), top=top)
            if within:
                mine_unmatched(result, *given)
            return result

    def _mine(self, read: Callable[[], Corpus], work: Work) -> MiningResult:
        seconds: dict[str, float] = {}
        with timed(seconds, "read"):
            corpus = read()
        check_keep(self.settings.clustering, corpus.documents)
        with self._computing(seconds) as models:
            from .pipeline import mine_corpus

            return mine_corpus(corpus, self.settings, models, work, self._progress, seconds)

    @speaks_python
    def score_pairs(self, pairs: Iterable[tuple[str, str]]) -> Floats:
        """Return the probability that each pair of texts is a duplicate; see `dupmine.score_pairs`.

        Raises:
            DupmineError: an item that is not a pair of strings, bad settings or models.
        """
        checked = [_pair(i, pair) for i, pair in enumerate(pairs_from(pairs))]
        texts = [text for pair in checked for text in pair]
        rows, longest = np.arange(len(texts)), self.settings.corpus.max_tokens
        with self._computing() as models:
            scorer = models.scorer
            tokens = tokenise(texts, scorer.tokenizer, max_tokens=longest, progress=self._progress)
            ends = rows[::2], rows[1::2]
            logits = scorer.score(tokens, *ends, self._progress, fill=False)
            unread = models.cascade.find_unread(tokens, CandidatePairs(*ends, logits))
        probability = np.where(unread, np.float32(0), probabilities(logits))
        keys = np.array([normalised_key(text) for text in texts], object).reshape(-1, 2)
        probability[keys[:, 0] == keys[:, 1]] = 1.0
        probability[(keys == "").any(axis=1)] = 0.0
        return probability

    @speaks_python
    def rank(self, query: str, texts: Iterable[str], top: int = 10) -> pd.DataFrame:
        """Return the texts that ask the same as a query, the most probable first; see `dupmine.rank`.

        Raises:
            DupmineError: a text that is not a string, bad settings or models.
        """
        checked = [query, *texts]
        for position, text in enumerate(checked):
            if not isinstance(text, str) or not encodes(text):
                place = f"text {position - 1} (counted from 0)" if position else "the query"
                raise InputError(f"{place}: expected a string, found {text!r:.80}")
        filled = np.array([i for i, text in enumerate(checked) if i and normalised_key(text)], np.int64)
        if not (normalised_key(query) and len(filled)):
            return _ranking([], filled[:0], np.empty((2, 0), np.float32))
        with self._computing() as models:
            from .pipeline import rank_texts

            some = [query, *(checked[i] for i in filled)]
            order, scores = rank_texts(some, top, self.settings, models, self._progress)
        return _ranking([some[1 + i] for i in order], filled[order] - 1, scores)


def _ranking(texts: list[str], positions: Rows, scores: Floats) -> pd.DataFrame:
    import pandas as pd

    rank, (cosine, probability) = np.arange(1, 1 + len(texts)), scores
    columns = {"rank": rank, "position": positions, "text": texts}
    return pd.DataFrame(columns | {"cosine": cosine, "probability": probability})


def _pair(position: int, pair: object) -> tuple[str, str]:
    place = f"pair {position} (counted from 0)"
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
        raise InputError(f"{place}: expected two strings, found {pair!r:.80}")
    if not all(map(encodes, pair)):
        raise InputError(f"{place}: a text holds half of a surrogate pair: {pair!r:.80}")
    return pair[0], pair[1]


def _load_models(settings: MiningSettings) -> Models:
    from .pipeline import Models

    return Models.load(settings)


class _LastModels:
    """The models of the last call of `mine` or `score_pairs`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: tuple[object, Models] | None = None

    def load(self, settings: MiningSettings) -> Models:
        """Return the models for some settings: those of the last call if they are the same, else new ones.

        A model in a local folder counts as another one once its files change.
        """
        names = (settings.retrieval.bi_encoder, settings.rerank.cross_encoder)
        key = (settings.compute, settings.rerank, *((name, _file_stamps(name)) for name in names))
        with self._lock:
            if self._loaded is None or self._loaded[0] != key:
                self._loaded = None  # so that memory need not hold both
                self._loaded = key, _load_models(settings)
            return self._loaded[1]

    def renew_lock(self) -> None:
        """Forget a lock that another thread held when this process was forked."""
        self._lock = Lock()

    def clear(self) -> None:
        """Free the models."""
        with self._lock:
            self._loaded = None
        gc.collect()


def _file_stamps(name: str) -> list[tuple[str, int, int]]:
    """Return path, size and time of change of a local model's files; nothing for other models."""
    with suppress(OSError, RuntimeError):  # a name too long for a file; no home folder for ~user
        stats = ((path, path.stat()) for path in sorted(Path(name).expanduser().rglob("*")))
        return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return []


_LAST = _LastModels()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LAST.renew_lock)


def mine(
    data: object,
    settings: MiningSettings | None = None,
    *,
    config: str | Path | None = None,
    progress: bool | None = None,
    **overrides: Unpack[SettingKeywords],
) -> MiningResult:
    """Find the duplicate clusters of a corpus.

    The models stay loaded for the next call with the same models and settings of stages `rerank` and
    `compute`, until `clear_models` frees them.

    Args:
        data: a list of texts, a pandas, polars or Arrow table, or a path or list of paths.
        settings: all settings, as `load_settings` returns them.
        config: instead of `settings`, a YAML file with any of them.
        progress: whether to show progress bars; None shows them in a terminal or notebook.
        overrides: single settings by key, as `threshold=0.8`, or by stage, as `rerank={"threshold": 0.8}`.

    Raises:
        DupmineError: bad input, settings or models; see its subclasses.

    Examples:
        >>> texts = ["How do I learn Python?", "How can I learn Python?", "What is the capital of France?"]
        >>> result = mine(texts, progress=False)
        >>> sorted(result.clusters["text"])
        ['How can I learn Python?', 'How do I learn Python?']
    """
    return _miner(settings, config, progress, overrides).mine(data)


def link(  # noqa: PLR0913 - those of mine, the reference and two options
    new: object,
    reference: object,
    settings: MiningSettings | None = None,
    *,
    top: int = 5,
    within: bool = False,
    config: str | Path | None = None,
    progress: bool | None = None,
    **overrides: Unpack[SettingKeywords],
) -> LinkResult:
    """Find, for each text of one corpus, the texts of another that ask the same.

    Each pair is decided alone (`rerank.decision: pair`), so that the result is the part of `mine` over both
    corpora that lies between them. Texts that are equal once normalised are certain matches. The models stay
    loaded as after `mine`.

    Args:
        new: what `mine` takes.
        reference: the same, a `MiningResult`, a `Store`, or the folder of either. The ids of the
            two have nothing to do with each other.
        settings: as for `mine`.
        top: at most so many matches of each new document are kept.
        within: also mine the new documents without a match among themselves, with the decision of the
            settings, as `LinkResult.within`; `LinkResult.new` then has one of each cluster.
        config: as for `mine`.
        progress: as for `mine`.
        overrides: as for `mine`.

    Raises:
        DupmineError: bad input, settings or models; see its subclasses.

    Examples:
        >>> result = link(["How can I learn Python?"], ["How do I learn Python?"], progress=False)
        >>> result.links[["new_id", "reference_id", "rank", "is_duplicate"]].values.tolist()
        [['0', '0', 1, True]]
    """
    return _miner(settings, config, progress, overrides).link(new, reference, top=top, within=within)


def score_pairs(
    pairs: Iterable[tuple[str, str]],
    settings: MiningSettings | None = None,
    *,
    config: str | Path | None = None,
    progress: bool | None = None,
    **overrides: Unpack[SettingKeywords],
) -> Floats:
    """Return the probability that the two texts of each pair ask the same, `(n_pairs,) float32`.

    The cross-encoder scores each pair alone; the last digits may differ from those of a run. As in `mine`,
    texts that are equal once normalised are certain (1), and an empty text has no duplicate (0). The models
    stay loaded as after `mine`.

    Args:
        pairs: pairs of texts.
        settings: as for `mine`.
        config: as for `mine`.
        progress: as for `mine`.
        overrides: as for `mine`.

    Raises:
        DupmineError: an item that is not a pair of strings, bad settings or models.

    Examples:
        >>> pairs = [
        ...     ("How do I learn Python?", "How can I learn Python?"),
        ...     ("How do I learn Python?", "Where do pythons live?"),
        ... ]
        >>> (score_pairs(pairs, progress=False) > 0.5).tolist()
        [True, False]
    """
    return _miner(settings, config, progress, overrides).score_pairs(pairs)


def rank(
    query: str,
    texts: Iterable[str],
    top: int = 10,
    settings: MiningSettings | None = None,
    *,
    config: str | Path | None = None,
    progress: bool | None = None,
    **overrides: Unpack[SettingKeywords],
) -> pd.DataFrame:
    """Rank texts by whether they ask the same as a query.

    The bi-encoder finds the 100 texts that are nearest to the query, the cross-encoder scores these, and they
    are ranked by the sum of cosine and probability, as by the queries of a store. A text that is equal to the
    query once normalised has probability 1; an empty one is left out. The models stay loaded as after `mine`.

    Args:
        query: the text that is asked for.
        texts: the texts to rank.
        top: at most so many are returned; above 100, so many are scored.
        settings: as for `mine`.
        config: as for `mine`.
        progress: as for `mine`.
        overrides: as for `mine`.

    Returns:
        A frame with the columns rank (from 1), position (in `texts`, from 0), text, cosine and probability.

    Raises:
        DupmineError: a text that is not a string, bad settings or models.

    Examples:
        >>> texts = ["Where do pythons live?", "How can I learn Python?"]
        >>> rank("How do I learn Python?", texts, progress=False)["text"][0]
        'How can I learn Python?'
    """
    return _miner(settings, config, progress, overrides).rank(query, texts, top)


def clear_models() -> None:
    """Free the models that `mine` and `score_pairs` keep for the next call.

    Examples:
        >>> clear_models()
    """
    _LAST.clear()


def _miner(
    settings: MiningSettings | None,
    config: str | Path | None,
    progress: bool | None,
    overrides: SettingKeywords,
) -> Miner:
    miner = Miner(settings, config=config, progress=progress, **overrides)
    miner._load = _LAST.load
    return miner
