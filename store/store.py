"""A store: a corpus that is mined as it grows, on disk, with every generation whole."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from ..corpus import corpus_from, read_corpus
from ..corpus.values import encodes
from ..disk.files import make_folder, output_errors
from ..disk.lock import lock
from ..disk.work import WORK
from ..errors import CorruptStoreError, InputError, OutputError
from ..progress import Progress
from ..results.manifest import timed
from ..results.tables import stored_clusters
from ..schema import Corpus
from ..settings import MiningSettings, load_settings
from .commits import Commit, generations, latest_commit
from .compatibility import in_its_precision, require_same_models, require_same_settings, stored_settings
from .documents import Target, all_documents, with_documents, without_documents
from .history import UpdateReport, describe, read_changes
from .maintenance import Damage, find_damage, sweep
from .segments import Snapshot, read_snapshot

if TYPE_CHECKING:
    from ..pipeline import Models
    from ..results.result import MiningResult
    from .query_index import Searcher

_COMPUTED = ("texts_embedded", "pairs_scored", "texts_reclustered")  # counts of what was computed
# What an attempt to make a store may have left, which a second one may replace.
_FIRST = r"lock|(\.?writer\.json[.\w-]*)|(states|changes|generations)(/\.?00000000\.[.\w-]+)?"
log = logging.getLogger(__name__)


class Store:
    """A corpus on disk with its duplicate clusters, kept up to date as documents come, change and go.

    One process writes at a time; any number read, and see the last generation that was committed.
    """

    def __init__(
        self, path: Path, settings: MiningSettings, *, progress: bool | None = None, wait: float = 0.0
    ) -> None:
        """Hold a store; `create` and `open` make one."""
        self.path = path
        self.settings = settings
        self._progress = Progress(progress)
        self._wait = wait
        self._overrides: dict[str, Any] = {}
        self._read: Snapshot | None = None
        self._asked: tuple[Snapshot, Searcher] | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: MiningSettings | None = None,
        *,
        config: str | Path | None = None,
        progress: bool | None = None,
        wait: float = 0.0,
        **overrides: Any,
    ) -> Store:
        """Make an empty store in a folder that is empty or not there.

        Settings as `Miner` takes them; they hold until `rebuild` changes them. A threshold that is left to
        the model is settled here, once.

        Raises:
            OutputError: the folder is not empty or cannot be written.
            DupmineError: bad settings or models.
        """
        from .update import first_commit

        folder = Path(path).expanduser()
        settings = settings.changed(overrides) if settings else load_settings(config, overrides)
        store = cls(folder, settings, progress=progress, wait=wait)
        store.settings, _ = store.models.settle(settings)
        described = store.models.describe()["models"]
        with output_errors(folder):
            make_folder(folder)
            with lock(folder, wait=wait):
                if generations(folder):
                    raise OutputError(f"{folder} is a store already: `dupmine store update` adds to it")
                names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
                if strange := [name for name in names if not re.fullmatch(_FIRST, name)]:
                    raise OutputError(f"{folder} is not empty (it holds {min(strange)}): give another folder")
                first_commit(folder, store.settings, described)
                sweep(folder, 1)
        return store

    @classmethod
    def open(
        cls, path: str | Path, *, progress: bool | None = None, wait: float = 0.0, **overrides: Any
    ) -> Store:
        """Open a store to read or write; a writer waits up to `wait` seconds for another to end.

        `overrides` say where to read and compute, as `threads=1` or `id_column="qid"`; what decides about
        pairs and clusters is the store's own.

        Raises:
            InputError: there is no store.
            SettingsError: an unknown setting, or one that the store holds.
            CorruptStoreError: the last commit is damaged.
        """
        folder = Path(path).expanduser()
        commit = latest_commit(folder)
        settings = stored_settings(commit).changed(overrides)
        require_same_settings(folder, commit, settings)
        store = cls(folder, settings, progress=progress, wait=wait)
        store._overrides = overrides
        return store

    @property
    def generation(self) -> int:
        """The number of the last generation."""
        return latest_commit(self.path).generation

    @cached_property
    def models(self) -> Models:
        """The bi-encoder and the cross-encoder, loaded when first needed."""
        from ..pipeline import Models

        made = generations(self.path)
        return Models.load(
            in_its_precision(latest_commit(self.path), self.settings) if made else self.settings
        )

    @property
    def snapshot(self) -> Snapshot:
        """The last generation, read whole; read again once another was committed."""
        commit = latest_commit(self.path)
        while self._read is None or self._read.commit.generation != commit.generation:
            try:
                self._read = read_snapshot(self.path, commit)
            except (CorruptStoreError, FileNotFoundError):
                # While it was read, so much may have been committed that its files were removed.
                before, commit = commit, latest_commit(self.path)
                if commit.generation == before.generation:
                    raise
        return self._read

    def update(self, data: object) -> UpdateReport:
        """Add documents of a data frame, Arrow table or file; one whose id is known replaces that document.

        The documents need an id column. Those that are there already, unchanged, cost nothing.

        Raises:
            LockError: another process writes to the store.
            CorruptStoreError: a file of the store is damaged.
            DupmineError: bad input, another model than before, no space.
        """
        return self._add(lambda: corpus_from(data, self.settings.corpus))

    def update_files(self, inputs: Sequence[str | Path]) -> UpdateReport:
        """Add the documents of files; otherwise as `update`."""
        return self._add(lambda: read_corpus(inputs, self.settings.corpus))

    def delete(self, ids: Iterable[object]) -> UpdateReport:
        """Take documents out; their clusters shrink, split or dissolve.

        Raises:
            InputError: there is no document with one of the ids; nothing is deleted.
            LockError: another process writes to the store.
        """
        with self._writing() as before:
            return self._advance("delete", before, without_documents(before, ids))

    def compact(self) -> UpdateReport:
        """Write what lives into one segment, without deleted documents and forgotten texts."""
        with self._writing() as before:
            return self._advance("compact", before, all_documents(before), anew=True)

    def rebuild(self, config: str | Path | None = None, **overrides: Any) -> UpdateReport:
        """Change settings or models: what they decide is computed anew, the rest is reused.

        Without a `config` the overrides change the store's own settings; `threshold=None` has it settled
        anew, as for another model.

        Raises:
            LockError: another process writes to the store.
            DupmineError: bad settings or models.
        """
        from .recovery import what_holds

        with self._writing() as before:
            self._use(
                load_settings(config, overrides)
                if config
                else stored_settings(before.commit).changed(overrides)
            )
            self.__dict__.pop("models", None)  # their files may be other ones now
            try:
                self.settings, _ = self.models.settle(self.settings)
                reuse = what_holds(before.commit, self.settings, self.models.describe()["models"])
                target = all_documents(before)
                return self._advance("rebuild", before, target, anew=True, reuse=reuse, rebuilt=True)
            except BaseException:
                self._follow(before.commit)
                raise

    def rollback(self, generation: int) -> UpdateReport:
        """Make the store what it was at a kept generation; that is a new generation, with its changes.

        Raises:
            InputError: that generation is not kept.
            LockError: another process writes to the store.
        """
        from .recovery import roll_back

        with self._writing() as before:
            commit, changes = roll_back(self.path, before, generation)
            self._follow(commit)
            return UpdateReport.of(commit, changes, {})

    def verify(self, *, repair: bool = False) -> list[Damage]:
        """Check every committed file; with `repair`, restore or compute anew what is damaged.

        Returns what is or was damaged: nothing for a store in order.

        Raises:
            CorruptStoreError: no generation can be made whole.
            LockError: another process writes to the store.
        """
        if not repair:
            return find_damage(self.path)
        from .recovery import mend

        with output_errors(self.path), lock(self.path, wait=self._wait):
            self._read = None
            damage = mend(self.path, self._recompute)
            self._clear_up()
        return damage

    def query(self, texts: str | Sequence[str], top: int = 10) -> pd.DataFrame:
        """Find the documents that ask the same as each text, the most probable first.

        The 100 nearest texts by cosine are scored. Columns: query (the text's number), rank (from 1), doc_id,
        text, cosine, probability, cluster_id (null: none), is_duplicate. Of equal texts the document that
        came first answers.
        """
        asked = [texts] if isinstance(texts, str) else list(texts)
        for place, text in enumerate(asked):
            if not isinstance(text, str) or not encodes(text):
                raise InputError(f"text {place} (counted from 0): expected a string, found {text!r:.80}")
        from .query_index import Searcher

        snapshot = self.snapshot
        self._follow(snapshot.commit)
        if self._asked is None or self._asked[0] is not snapshot:
            require_same_models(self.path, snapshot.commit, self.models.describe()["models"])
            self._asked = snapshot, Searcher(snapshot, self.settings, self.models)
        return _frame(self._asked[1].ask(asked, top, self._progress))

    @property
    def clusters_table(self) -> pa.Table:
        """The clusters, one line per document, under their stable ids; the schema of a run's clusters."""
        snapshot = self.snapshot
        return stored_clusters(snapshot.documents, snapshot.state)

    def clusters(self) -> pd.DataFrame:
        """Return the clusters, one line per document, under their stable ids."""
        frame: pd.DataFrame = self.clusters_table.to_pandas()
        return frame

    def changes(self, since: int = 0) -> pd.DataFrame:
        """Return what changed in the generations after `since`, oldest first; see docs/changes.md."""
        return _frame(read_changes(self.path, since))

    def status(self) -> dict[str, Any]:
        """Return the last generation's number, counts, size in bytes, time (UTC), settings and writer."""
        return describe(self.path)

    def export(self, out: str | Path, *, overwrite: bool = False) -> MiningResult:
        """Write the tables of a run over the store's documents to a folder, with the store's cluster ids.

        Raises:
            OutputError: the folder exists, or cannot be written.
        """
        from .as_run import as_result

        result = as_result(self.snapshot)
        result.save(out, overwrite=overwrite)
        return result

    @contextmanager
    def _writing(self) -> Iterator[Snapshot]:
        """Be the only writer, and yield the generation to go on from."""
        with output_errors(self.path), lock(self.path, wait=self._wait):
            sweep(self.path, self.settings.store.keep_generations)
            before = self.snapshot
            self._follow(before.commit)
            yield before
            self._clear_up()

    def _clear_up(self) -> None:
        """Remove what the last commit does not need; where that fails the next writer does it."""
        try:
            shutil.rmtree(self.path / WORK, ignore_errors=True)
            sweep(self.path, self.settings.store.keep_generations)
        except OSError as error:
            log.warning("%s: what nobody needs any more is still there: %s", self.path, error)

    def _add(self, read: Callable[[], Corpus]) -> UpdateReport:
        seconds: dict[str, float] = {}
        with self._writing() as before:
            with timed(seconds, "read"):
                corpus = read()
                if corpus.id_column is None:
                    raise InputError(
                        "the documents have no id column, by which a later update would know them again: "
                        "name one with --id-column (setting corpus.id_column)"
                    )
                target = with_documents(before, corpus.documents)
            columns = {"text": corpus.text_column, "id": corpus.id_column}
            return self._advance("update", before, target, seconds, columns=columns)

    def _advance(
        self,
        operation: str,
        before: Snapshot,
        target: Target,
        seconds: dict[str, float] | None = None,
        **how: Any,
    ) -> UpdateReport:
        """Make the next generation, if anything changes; `how` are fields of a `Step`."""
        if not (target.changed or how.get("anew")):
            return UpdateReport(
                before.commit.generation,
                False,
                before.commit.counts | dict.fromkeys(_COMPUTED, 0) | target.counts,
            )
        from .update import Step, next_commit

        def models() -> Models:
            if not how.get("rebuilt"):
                require_same_models(self.path, before.commit, self.models.describe()["models"])
            return self.models

        step = Step(operation, self.settings, models, self._progress, **how)
        return next_commit(self.path, before, target, step, seconds)

    def _recompute(self, before: Snapshot) -> None:
        from .generation import Reuse

        self._follow(before.commit)
        reuse = Reuse(neighbours=False, clusters=False)
        self._advance("repair", before, all_documents(before), anew=True, reuse=reuse)

    def _follow(self, commit: Commit) -> None:
        """Take the settings of a commit, which another process may have changed."""
        self._use(stored_settings(commit).changed(self._overrides))

    def _use(self, settings: MiningSettings) -> None:
        if settings != self.settings:
            self.settings = settings
            self.__dict__.pop("models", None)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a pandas frame in which whole numbers that may be missing stay whole."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame
