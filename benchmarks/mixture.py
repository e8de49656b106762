"""Mix labelled pairs of several domains into one file to train a cross-encoder on.

    python benchmarks/mixture.py DATA OUT.parquet [--quora 150000] [--without SET ...]

DATA is that of `benchmarks/domains.py`. Only English rows of split `train` whose licence allows to ship the
weights are used. OUT has the columns text1, text2, label, split and part; the rows are in random order, so
that any share of an epoch holds all parts:

* `quora`: pairs drawn at random; `changed` and `rewritten`: of other pairs of Quora, by rule
  (`benchmarks/contrasts.py`). A rewritten pair keeps its label, a changed duplicate becomes a different pair.
* The labelled sets, whole.
* Grouped sets, as candidates that stage 1 proposes (cosine 0.6 and more): two texts of a group are
  duplicates, unless the group is only a topic; a text and its nearest of other groups are different.

A pair with a text of any split `dev`, `valid` or `test`, of whatever set, is left out. The offers of `er_*`
recur over their splits: there only a pair that recurs is left out. Validation rows come from Quora's `valid`
and each set's `dev`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dupmine import Miner
from dupmine.benchmarks.contrasts import DIFFERENT, SAME, Rewrite
from dupmine.corpus.unique import normalised_key
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.schema import Floats

FLOOR = 0.6  # cosine: below it stage 1 proposes no pair
# Duplicates and different pairs of a grouped set; none of the first where a group is only a topic.
GROUPS = {
    "roboai_faq": (12_000, 12_000),
    "banking77": (9_000, 15_000),
    "clinc150": (0, 15_000),
    "hwu64": (0, 8_000),
    "hint3_curekart": (1_500, 2_000),
    "hint3_sofmattress": (800, 1_000),
    "dstc11_banking": (300, 300),
    "dstc11_finance": (500, 800),
}
CHANGED, REWRITTEN = 30_000, 20_000
VALID = {"quora": 1_000, "set": 150}
COLUMNS = ["text1", "text2", "label", "part"]


def main() -> None:
    """Write the mixture and print its proportions."""
    arguments = parse_arguments()
    rng = np.random.default_rng(arguments.seed)
    sources = Sources(arguments.data, set(arguments.without))
    parts = [*quora_parts(sources, arguments.quora, rng), *labelled_parts(sources)]
    parts += list(grouped_parts(sources, "train", 1.0, rng))
    train = pd.concat(parts).drop_duplicates(["text1", "text2"])
    train = train[sources.allowed(train)].sample(frac=1, random_state=arguments.seed).assign(split="train")
    valid = validation(sources, rng).assign(split="valid")
    pd.concat([train, valid]).reset_index(drop=True).to_parquet(arguments.out)
    for name, table in (("train", train), ("valid", valid)):
        print(name, len(table))
        print(table.groupby("part")["label"].agg(pairs="size", duplicates="mean").round(3).to_string())


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with domains/ and qqp/")
    parser.add_argument("out", type=Path, help="Parquet file to write")
    parser.add_argument("--quora", type=int, default=150_000, help="pairs of Quora")
    parser.add_argument("--without", nargs="*", default=[], metavar="SET", help="sets to leave out")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Sources:
    """The labelled pairs and groups, and what may not be trained on."""

    def __init__(self, data: Path, without: set[str]) -> None:
        """Read the files under `data`; sets of `without` are only held out."""
        quora = pd.read_parquet(data / "qqp" / "pairs.parquet")
        quora = quora.rename(columns={"question1": "text1", "question2": "text2", "is_duplicate": "label"})
        pairs = pd.read_parquet(data / "domains" / "pairs.parquet").rename(columns={"duplicate": "label"})
        groups = pd.read_parquet(data / "domains" / "groups.parquet")
        self.quora = quora[["text1", "text2", "label", "split"]]
        usable = (pairs["language"] == "en") & pairs["may_train_shipped"] & ~pairs["dataset"].isin(without)
        self.pairs = pairs[usable].rename(columns={"dataset": "part"})
        known = set(GROUPS) - without
        self.groups = groups[(groups["language"] == "en") & groups["dataset"].isin(known)]
        held = [table[table["split"] != "train"] for table in (quora, pairs, groups)]
        offers = held[1]["dataset"].str.startswith("er_")
        texts = [held[0]["text1"], held[0]["text2"], *(held[1][~offers][name] for name in ("text1", "text2"))]
        self._texts = {normalised_key(text) for column in (*texts, held[2]["text"]) for text in column}
        self._pairs = set(_pair_keys(held[1][offers]))

    def allowed(self, table: pd.DataFrame) -> pd.Series:
        """Return which pairs may be trained on, and are filled."""
        left, right = (table[name].map(normalised_key) for name in ("text1", "text2"))
        known = left.isin(self._texts) | right.isin(self._texts) | (left == "") | (right == "")
        recurs = pd.Series([key in self._pairs for key in _pair_keys(table)], index=table.index)
        return ~(known & ~table["part"].str.startswith("er_")) & ~recurs


def quora_parts(sources: Sources, n: int, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    """Yield pairs of Quora, and other pairs of it changed and rewritten."""
    train = sources.quora[sources.quora["split"] == "train"].drop(columns="split")
    train = train.sample(frac=1, random_state=int(rng.integers(2**31)))
    yield train[:n].assign(part="quora")
    rest = train[n:] if len(train) - n >= CHANGED + REWRITTEN else train
    yield rewrite_pairs(rest[rest["label"] == 1], DIFFERENT, CHANGED, rng).assign(label=0, part="changed")
    yield rewrite_pairs(rest, SAME, REWRITTEN, rng).assign(part="rewritten")


def rewrite_pairs(
    pairs: pd.DataFrame, kinds: dict[str, Rewrite], n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return about `n` pairs whose second text is rewritten, at most an equal share by each kind.

    Half of the changed texts stand beside the text they were made of, so that only the change tells them
    apart.
    """
    rows: list[tuple[str, str, int]] = []
    for rewrite in kinds.values():
        made = 0
        for text1, text2, label in pairs.sample(frac=1, random_state=int(rng.integers(2**31))).to_numpy():
            if made >= n // len(kinds):
                break
            other = rewrite(text2, rng)
            if other is None:
                continue
            made += 1
            beside = text2 if kinds is DIFFERENT and rng.random() < 0.5 else text1
            rows.append((beside, other, label))
    return pd.DataFrame(rows, columns=["text1", "text2", "label"])


def labelled_parts(sources: Sources) -> list[pd.DataFrame]:
    """Return the training rows of the labelled sets."""
    return [sources.pairs[sources.pairs["split"] == "train"][COLUMNS]]


def grouped_parts(
    sources: Sources, split: str, share: float, rng: np.random.Generator
) -> Iterator[pd.DataFrame]:
    """Yield the pairs of each grouped set, so many as `GROUPS` says, or a share of them."""
    miner = Miner(progress=False)
    for name, part in sources.groups[sources.groups["split"] == split].groupby("dataset", sort=True):
        part = part.drop_duplicates("text").reset_index(drop=True)
        n_same, n_different = (int(share * n) for n in GROUPS[str(name)])
        cosine = cosines(part["text"].tolist(), miner)
        group = np.unique(part["group"], return_inverse=True)[1]
        same = np.argwhere(np.triu((group[:, None] == group) & (cosine >= FLOOR), 1))
        same = same[rng.permutation(len(same))[:n_same]]
        different = nearest_of_others(cosine, group, n_different)
        text = part["text"].to_numpy()
        for ends, label in ((same, 1), (different, 0)):
            table = pd.DataFrame({"text1": text[ends[:, 0]], "text2": text[ends[:, 1]]})
            yield table.assign(label=label, part=name)


def cosines(texts: list[str], miner: Miner) -> Floats:
    """Return the cosine of every two texts by the built-in bi-encoder."""
    encoder = miner.models.encoder
    assert encoder.tokenizer is not None
    tokens = tokenise(texts, encoder.tokenizer, max_tokens=128, progress=SILENT)
    vectors = encoder.encode(texts, tokens, SILENT).astype(np.float32)
    return np.asarray(vectors @ vectors.T, np.float32)


def nearest_of_others(cosine: Floats, group: np.ndarray, n: int) -> np.ndarray:
    """Return at most `n` pairs of different groups, the nearest of each text first, `(n, 2)`."""
    apart = np.where(group[:, None] == group, -1.0, cosine).astype(np.float32)
    each = max(n // len(group) + 1, 2)
    near = np.argpartition(-apart, each, axis=1)[:, :each]
    left = np.repeat(np.arange(len(group)), each)
    ends = np.sort(np.column_stack([left, near.ravel()]), axis=1)
    ends = np.unique(ends[apart[ends[:, 0], ends[:, 1]] >= FLOOR], axis=0)
    return ends[np.random.default_rng(0).permutation(len(ends))[:n]]


def validation(sources: Sources, rng: np.random.Generator) -> pd.DataFrame:
    """Return the pairs to validate on: of Quora, and of each set."""
    quora = sources.quora[sources.quora["split"] == "valid"].assign(part="quora")
    dev = sources.pairs[sources.pairs["split"] == "dev"]
    grouped = pd.concat(list(grouped_parts(sources, "dev", 0.1, rng)))
    sets = [quora[COLUMNS].sample(VALID["quora"], random_state=0)]
    for table in (dev[COLUMNS], grouped[COLUMNS]):
        sets += [
            part.sample(min(VALID["set"], len(part)), random_state=0) for _, part in table.groupby("part")
        ]
    return pd.concat(sets)


def _pair_keys(table: pd.DataFrame) -> list[tuple[str, ...]]:
    sides = (table[name].map(normalised_key) for name in ("text1", "text2"))
    return [tuple(sorted(pair)) for pair in zip(*sides, strict=True)]


if __name__ == "__main__":
    main()
