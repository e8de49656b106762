"""The store: a corpus and its clusters on disk, updated incrementally."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd
import pyarrow as pa

from ..corpus import corpus_from, read_corpus
from ..corpus.values import encodes
from ..disk.files import make_folder, output_errors, require_local
from ..disk.lock import lock
from ..errors import DupmineError, InputError, speaks_python
from ..keywords import SettingKeywords
from ..progress import Progress
from ..results.manifest import timed
from ..results.tables import stored_clusters
from ..schema import Corpus
from ..settings import MiningSettings, load_settings
from .commits import Commit, generations, latest_commit
from .compatibility import require_same_models, require_same_settings, stored_settings, with_stored_precision
from .documents import TargetDocuments, add_documents, keep_documents, remove_documents
from .history import UpdateReport, describe, read_changes
from .maintenance import Damage, clean_up, find_damage, remove_unreferenced, require_new, unknown_files
from .snapshot import Snapshot, read_latest

if TYPE_CHECKING:
    from ..pipeline import Models
    from ..results.result import MiningResult
    from .query_index import QueryIndex


class Store:
    """A corpus on disk with its duplicate clusters, updated as documents are added, edited and deleted.

    One process writes at a time. Any number of processes read, and see the last committed generation.

    Examples:
        >>> import pandas as pd
        >>> texts = ["How can I learn Python?", "Where do pythons live?", "How do I  learn Python?"]
        >>> store = Store.create("questions.store", progress=False)
        >>> store.update(pd.DataFrame({"id": ["a", "b", "c"], "question": texts})).counts["clusters"]
        1
        >>> sorted(store.query("How to learn Python?", top=2)["doc_id"])
        ['a', 'c']
    """

    def __init__(
        self, path: Path, settings: MiningSettings, *, progress: bool | None = None, wait: float = 0.0
    ) -> None:
        """Use `Store.create` or `Store.open` instead."""
        self.path = path
        self.settings = settings
        self._progress = Progress(progress)
        self._wait = wait
        self._overrides: SettingKeywords = {}
        self._read: Snapshot | None = None
        self._index: tuple[Snapshot, QueryIndex] | None = None

    @classmethod
    @speaks_python
    def create(
        cls,
        path: str | Path,
        settings: MiningSettings | None = None,
        *,
        config: str | Path | None = None,
        progress: bool | None = None,
        wait: float = 0.0,
        **overrides: Unpack[SettingKeywords],
    ) -> Store:
        """Make an empty store in a new or empty folder.

        Args:
            path: the folder.
            settings: settings of the store, or
            config: a YAML file with them.
            progress: whether to show progress bars; None shows them in a terminal.
            wait: seconds to wait for another writer.
            overrides: single settings, as `Miner` takes them.

        The settings stay until `rebuild` changes them. A threshold that the model decides is fixed here.

        Raises:
            OutputError: the folder is not empty or cannot be written.
            DupmineError: bad settings or models.
        """
        from .update import create_store

        folder = Path(path).expanduser()
        require_local(folder)
        require_new(folder)  # before models are loaded
        settings = settings.changed(overrides) if settings else load_settings(config, overrides)
        store = cls(folder, settings, progress=progress, wait=wait)
        store.settings, _ = store.models.settle(settings)
        models = store.models.describe()["models"]
        with output_errors(folder):
            make_folder(folder)
            with lock(folder, wait=wait):
                create_store(folder, store.settings, models)
        return store

    @classmethod
    @speaks_python
    def open(
        cls,
        path: str | Path,
        *,
        progress: bool | None = None,
        wait: float = 0.0,
        **overrides: Unpack[SettingKeywords],
    ) -> Store:
        """Open a store to read or write.

        Args:
            path: the folder.
            progress: whether to show progress bars; None shows them in a terminal.
            wait: seconds that a writing method waits for another writer.
            overrides: settings of reading and computing, as `threads=1` or `id_column="qid"`. Settings that
                affect the clusters are those of the store.

        Raises:
            InputError: the folder is not a store.
            SettingsError: a setting is unknown or affects the clusters.
            CorruptStoreError: the last commit is damaged.
        """
        folder = Path(path).expanduser()
        commit = latest_commit(folder)
        settings = stored_settings(commit).changed(overrides)
        require_same_settings(folder, commit, settings)
        store = cls(folder, settings, progress=progress, wait=wait)
        store._overrides = overrides
        return store

    @classmethod
    def open_damaged(cls, path: str | Path, *, progress: bool | None = None, wait: float = 0.0) -> Store:
        """Open a store whose newest commit may be damaged, to `verify` it.

        Raises:
            InputError: the folder is not a store.
        """
        folder = Path(path).expanduser()
        if not generations(folder):
            latest_commit(folder)
        return cls(folder, MiningSettings(), progress=progress, wait=wait)

    def __repr__(self) -> str:
        """Return the folder and its last generation."""
        try:
            return f"Store({str(self.path)!r}, generation {self.generation})"
        except DupmineError as error:
            return f"Store({str(self.path)!r}, unreadable: {error})"

    @property
    def generation(self) -> int:
        """The number of the last generation."""
        return latest_commit(self.path).generation

    @cached_property
    def models(self) -> Models:
        """The bi-encoder and the cross-encoder, loaded on first use."""
        settings = self.settings
        if generations(self.path):
            settings = with_stored_precision(latest_commit(self.path), settings)
        with self._progress.message("loading models"):
            from ..inference.threads import using_threads
            from ..pipeline import Models

            with using_threads(None):
                return Models.load(settings)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Use the threads of the settings. Raises `SettingsError` where a fork cannot use the models."""
        from ..inference.threads import using_threads  # with torch, for which bad input does not wait

        with using_threads(self.settings.compute.threads):
            if "models" in vars(self):
                self.models.compute.require_same_process()
            yield

    @property
    def snapshot(self) -> Snapshot:
        """The content of the last generation, read again after another commit."""
        self._read = read_latest(self.path, self._read)
        return self._read

    @speaks_python
    def update(self, data: object) -> UpdateReport:
        """Add documents of a data frame, Arrow table or file. A known id replaces that document.

        The documents need an id column. Unchanged documents cost nothing.

        Raises:
            LockError: another process writes to the store.
            CorruptStoreError: a file of the store is damaged.
            DupmineError: bad input, another model than that of the store, no space.
        """
        return self._add(lambda: corpus_from(data, self.settings.corpus))

    @speaks_python
    def update_files(self, inputs: Sequence[str | Path]) -> UpdateReport:
        """Add the documents of files, as `update` does."""
        return self._add(lambda: read_corpus(inputs, self.settings.corpus))

    @speaks_python
    def delete(self, ids: Iterable[object]) -> UpdateReport:
        """Delete documents; their clusters shrink, split or dissolve.

        Raises:
            InputError: an id is unknown; nothing is deleted.
            LockError: another process writes to the store.
        """
        with self._writing() as before:
            return self._advance("delete", before, remove_documents(before, ids))

    @speaks_python
    def compact(self) -> UpdateReport:
        """Write all live data into one segment, without deleted documents and unused texts."""
        with self._writing() as before:
            return self._advance("compact", before, keep_documents(before), rewrite=True)

    @speaks_python
    def rebuild(self, config: str | Path | None = None, **overrides: Unpack[SettingKeywords]) -> UpdateReport:
        """Change settings or models. What depends on them is recomputed, the rest is reused.

        Without a `config` the overrides change the current settings. `threshold=None` takes the threshold of
        the model.

        Raises:
            LockError: another process writes to the store.
            DupmineError: bad settings or models.
        """
        from .recovery import find_reusable

        with self._writing() as before:
            self._use(
                load_settings(config, overrides)
                if config
                else stored_settings(before.commit).changed(overrides)
            )
            self.__dict__.pop("models", None)  # their files may have changed
            try:
                self.settings, _ = self.models.settle(self.settings)
                reuse = find_reusable(before.commit, self.settings, self.models.describe()["models"])
                target = keep_documents(before)
                return self._advance("rebuild", before, target, rewrite=True, reuse=reuse, new_settings=True)
            except BaseException:
                self._follow(before.commit)
                raise

    @speaks_python
    def rollback(self, generation: int) -> UpdateReport:
        """Restore a kept generation; this makes a new generation with its own changes.

        Raises:
            InputError: the generation is not kept.
            LockError: another process writes to the store.
        """
        from .recovery import restore_generation

        with self._writing() as before:
            commit, changes = restore_generation(self.path, before, generation)
            self._follow(commit)
            return UpdateReport.of(commit, changes, {})

    @speaks_python
    def verify(self, *, repair: bool = False) -> list[Damage]:
        """Check every committed file; with `repair`, restore or recompute what is damaged.

        Returns the damage found: an empty list for an intact store.

        Raises:
            CorruptStoreError: no generation can be repaired.
            LockError: another process writes to the store.
        """
        if not repair:
            return find_damage(self.path)
        from .recovery import repair_store

        with output_errors(self.path), lock(self.path, wait=self._wait):
            self._read = None
            damage = repair_store(self.path, self._recompute)
            self._follow(latest_commit(self.path))
            clean_up(self.path, self.settings.store.keep_generations)
        return damage

    def unknown_files(self) -> list[str]:
        """Return the files and folders in the store that dupmine did not write; none is read or removed."""
        return unknown_files(self.path)

    @speaks_python
    def query(self, texts: str | Sequence[str], top: int = 10) -> pd.DataFrame:
        """Find the documents that ask the same as each text, the nearest in meaning and words first.

        Args:
            texts: one text or several.
            top: number of documents per text. The 100 nearest texts by cosine are scored.

        Returns:
            A frame with the columns query (position of the text), rank (from 1), doc_id, text, cosine,
            probability, cluster_id (null: none), is_duplicate. Of documents with equal texts the first one
            answers.
        """
        queries = [texts] if isinstance(texts, str) else list(texts)
        for position, text in enumerate(queries):
            if not isinstance(text, str) or not encodes(text):
                raise InputError(f"text {position} (counted from 0): expected a string, found {text!r:.80}")
        from .query_index import QueryIndex

        snapshot = self.snapshot
        self._follow(snapshot.commit)
        with self._computing():
            if self._index is None or self._index[0] is not snapshot:
                require_same_models(self.path, snapshot.commit, self.models.describe()["models"])
                self._index = snapshot, QueryIndex(snapshot, self.settings, self.models)
            return _frame(self._index[1].search(queries, top, self._progress))

    @property
    def clusters_table(self) -> pa.Table:
        """The clusters with their stable ids, one row per document; the schema of a run's clusters."""
        snapshot = self.snapshot
        return stored_clusters(snapshot.documents, snapshot.state)

    def clusters(self) -> pd.DataFrame:
        """Return the clusters with their stable ids, one row per document."""
        frame: pd.DataFrame = self.clusters_table.to_pandas()
        return frame

    @speaks_python
    def changes(self, since: int = 0) -> pd.DataFrame:
        """Return the changes of the generations after `since`, oldest first; see docs/changes.md."""
        return _frame(read_changes(self.path, since))

    def status(self) -> dict[str, Any]:
        """Return number, counts, bytes, time (UTC) and settings of the last generation, and the writer."""
        return describe(self.path)

    @speaks_python
    def export(self, out: str | Path, *, overwrite: bool = False) -> MiningResult:
        """Write the tables of a run over the documents to a folder, with the store's cluster ids.

        Raises:
            OutputError: the folder exists, or cannot be written.
        """
        from .as_run import as_result

        result = as_result(self.snapshot)
        result.save(out, overwrite=overwrite)
        return result

    @contextmanager
    def _writing(self) -> Iterator[Snapshot]:
        """Take the lock, and yield the last generation."""
        with output_errors(self.path), lock(self.path, wait=self._wait):
            remove_unreferenced(self.path, self.settings.store.keep_generations)
            before = self.snapshot
            self._follow(before.commit)
            yield before
            clean_up(self.path, self.settings.store.keep_generations)

    def _add(self, read: Callable[[], Corpus]) -> UpdateReport:
        seconds: dict[str, float] = {}
        with self._writing() as before:
            with timed(seconds, "read"):
                corpus = read()
                if corpus.id_column is None and len(corpus.documents):
                    raise InputError(
                        "the documents have no id column, which later updates need to recognise them: "
                        "name one with --id-column (setting corpus.id_column)"
                    )
                target = add_documents(before, corpus.documents)
            columns = {"text": corpus.text_column} | ({"id": corpus.id_column} if corpus.id_column else {})
            return self._advance("update", before, target, seconds, columns=columns)

    def _advance(
        self,
        operation: str,
        before: Snapshot,
        target: TargetDocuments,
        seconds: dict[str, float] | None = None,
        **options: Any,
    ) -> UpdateReport:
        """Make the next generation if anything changes; `options` are fields of an `UpdatePlan`."""
        if not (target.changed or options.get("rewrite")):
            return UpdateReport.unchanged(before.commit, target.counts)
        from .update import UpdatePlan, next_commit

        def models() -> Models:
            if not options.get("new_settings"):
                require_same_models(self.path, before.commit, self.models.describe()["models"])
            return self.models

        plan = UpdatePlan(operation, self.settings, models, self._progress, **options)
        with self._computing():
            return next_commit(self.path, before, target, plan, seconds)

    def _recompute(self, before: Snapshot) -> None:
        from .generation import Reuse

        self._follow(before.commit)
        reuse = Reuse(neighbours=False, clusters=False)
        self._advance("repair", before, keep_documents(before), rewrite=True, reuse=reuse)

    def _follow(self, commit: Commit) -> None:
        """Use the settings of a commit, which another process may have changed."""
        self._use(stored_settings(commit).changed(self._overrides))

    def _use(self, settings: MiningSettings) -> None:
        if settings != self.settings:
            self.settings = settings
            self.__dict__.pop("models", None)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a pandas frame in which nullable integers stay integers."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame
