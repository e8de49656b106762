"""Every setting of a run: one frozen model per stage, composed in `MiningSettings`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from .formats import FORMATS
from .staged import Stage, StagedSettings, load_staged

# What the outputs of a cross-encoder mean; `rerank/heads.py` turns each kind into one logit.
HeadKind = Literal["sigmoid", "softmax", "nli", "score"]

BUILTIN_BI_ENCODER = "all-MiniLM-L6-v2"
BUILTIN_CROSS_ENCODER = "quora-minilm-l6"


class FileSettings(Stage):
    """How files are written; by default as each file tells."""

    encoding: str | None = None
    """encoding of text files, as cp1252; by default UTF-8, or what the bytes tell"""
    delimiter: str | None = None
    """what separates the fields of CSV and TSV: a character, tab, or none for a text a line; by default as
    the file tells"""
    quote: str | None = None
    """what encloses fields of CSV and TSV: a character, or none where quotes are plain; by default as the
    file tells"""
    escape: str | None = None
    """what a backslash does in CSV and TSV: none, spark or mysql as those programs write it, or a character
    that makes the next one plain; by default as the file tells"""

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, value: str | None) -> str | None:
        try:
            "".encode(value or "utf-8")  # refuses what is no encoding of text, as base64
        except LookupError:
            raise PydanticCustomError(
                "unknown_encoding", "should be an encoding that Python knows, as cp1252"
            ) from None
        return value

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _is_character(cls, value: str | None, info: ValidationInfo) -> str | None:
        value = "\t" if value in ("tab", r"\t") and info.field_name == "delimiter" else value
        words = ("none", "spark", "mysql") if info.field_name == "escape" else ("none",)
        if value is None or value in words or (len(value) == 1 and value not in "\r\n\0"):
            return value
        names = {"words": ", ".join(words)}
        raise PydanticCustomError("no_character", "should be a character or {words}", names)


class CorpusSettings(FileSettings):
    """What is read, and what counts as the same text."""

    text_column: str | None = None
    """column with the text, several joined by commas; by default found by name"""
    id_column: str | None = None
    """column with a unique id; by default found by name, else ids are file:row"""
    format: str = "auto"
    """format of the input files; auto goes by the file name"""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """bytes that are not in the encoding: end with an error, or replace and count"""
    header: bool = True
    """whether the first row of CSV, TSV and Excel has the names"""
    columns: str | None = None
    """names of the columns of files without a header, joined by commas"""
    nulls: Literal["error", "drop", "empty"] = "error"
    """null texts: end with an error, drop the row, or take an empty text"""
    max_tokens: int = Field(default=128, ge=4, le=4096)
    """longer texts are cut to so many tokens before the models see them"""
    max_columns: int = Field(default=1000, ge=1, le=100_000)
    """a table with more columns ends the run with an error"""
    max_expansion: int = Field(default=100, ge=1)
    """a compressed or Parquet file that expands to more than 64 MiB and so many times its size ends the run
    too"""
    strict_language: bool = False
    """end a run over a corpus in a language that the cross-encoder's card does not name, instead of a
    warning"""

    @property
    def column_names(self) -> tuple[str, ...] | None:
        """The names in `columns`."""
        if self.columns is None:
            return None
        return tuple(name.strip() for name in self.columns.split(","))

    @field_validator("format")
    @classmethod
    def _is_format(cls, value: str) -> str:
        if value != "auto" and value not in FORMATS:
            names = ", ".join(map(repr, ("auto", *FORMATS)))
            raise PydanticCustomError("unknown_format", "should be one of {names}", {"names": names})
        return value


class PairSettings(FileSettings):
    """How a file of labelled pairs is read."""

    text_columns: str | None = Field(default=None, pattern=r"^[^,]+,[^,]+$")
    """the two columns with texts, joined by a comma; by default found by name"""
    label_column: str | None = None
    """column with the label; by default found by name, as is_duplicate or label"""
    label_max: float = Field(default=1.0, gt=0.0)
    """label of identical meaning; labels are divided by it, so STS-B's 0 to 5 need 5"""


class RetrievalSettings(Stage):
    """Stage 1: the bi-encoder, its index, and which pairs become candidates."""

    bi_encoder: str = Field(default=BUILTIN_BI_ENCODER, min_length=1)
    """sentence-transformers model: built-in, folder or hub name"""
    max_k: int = Field(default=1000, ge=1, le=100_000)
    """a pair above the floor is a candidate if one text is among so many nearest of the other"""
    floor: float = Field(default=0.60, ge=-1.0, le=1.0)
    """pairs below this cosine are no candidates"""
    index: str = Field(default="auto", min_length=1)
    """FAISS index: auto, flat (exact), ivf, or a string of its index factory, as HNSW32 or
    OPQ64_256,IVF4096,PQ64; auto is flat up to 100,000 texts and ivf above"""
    nlist: int | None = Field(default=None, ge=1)
    """lists of an ivf index; by default twice the root of the texts"""
    nprobe: int | None = Field(default=None, ge=1)
    """lists visited per text; by default as many as target_recall needs"""
    target_recall: float = Field(default=0.97, gt=0.0, le=1.0)
    """recall of pairs above the floor that nprobe is chosen for"""

    @model_validator(mode="after")
    def _lists_of_an_ivf_index(self) -> Self:
        if self.nlist is not None and self.index not in {"auto", "ivf"}:
            raise PydanticCustomError(
                "no_nlist",
                "setting retrieval.nlist: index {index} does not take it: use index=ivf, or a factory string "
                "as IVF1024,Flat",
                {"index": self.index},
            )
        return self


class RerankSettings(Stage):
    """Stage 2: the cross-encoder and when it calls a pair a duplicate."""

    cross_encoder: str = Field(default=BUILTIN_CROSS_ENCODER, min_length=1)
    """sequence classifier: built-in, folder or hub name"""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """probability from which a pair is a duplicate; by default the one with the best F1 on the pairs the
    model was calibrated with, 0.5 for a model without calibration"""
    target_precision: float | None = Field(default=None, ge=0.5, le=1.0)
    """instead of threshold: the lowest that gives accepted pairs this precision, by the model's
    calibration"""
    calibrate: bool = True
    """use the model's calibration, if it has one (dupmine calibrate makes it)"""
    decision: Literal["auto", "pair", "corpus"] = "auto"
    """pair: by the cross-encoder alone; corpus: with what the pair's neighbours say, as fitted by dupmine
    calibrate --corpus; auto: corpus where the model has that for this bi-encoder"""
    bands: Literal["auto", "off"] = "auto"
    """auto: the cross-encoder skips pairs that the model's bands decide by cosine and words, where it has
    some (dupmine calibrate --corpus fits them)"""
    audit: int = Field(default=1000, ge=0)
    """the cross-encoder scores so many of the pairs it skipped, at most a tenth, to estimate what skipping
    costs; the result is the same"""
    symmetric: bool = False
    """score both orders of a pair and average their logits"""
    head: Literal["auto", HeadKind] = "auto"
    """sigmoid: one logit; softmax: two labels, duplicate = 1; nli: entailment both ways; score: a similarity;
    auto: from the model's configuration"""
    score_max: float = Field(default=1.0, gt=0.0)
    """head score: the model's value for identical meaning (STS models: 1 or 5)"""

    @field_validator("bands", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # which is what YAML makes of it

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.threshold is not None and self.target_precision is not None:
            raise PydanticCustomError(
                "contradiction",
                "settings rerank.threshold and rerank.target_precision: give one of the two; it is null that "
                "takes the other back",
            )
        return self

    @property
    def accepts_from(self) -> float:
        """The threshold, once it is a number: the loaded model settles what was left to it."""
        assert self.threshold is not None, "settled by Models.settle"
        return self.threshold


class ClusteringSettings(Stage):
    """How accepted pairs become clusters, and who stands for each."""

    method: Literal["guarded", "components"] = "guarded"
    """guarded divides components that chain; components does not"""
    agreement: float = Field(default=0.5, ge=0.25, le=0.9)
    """groups join while the mean over all pairs between them is at least this, on a scale where the threshold
    lies at 0.5; higher makes clusters smaller and more uniform"""
    unknown: float = Field(default=0.1, ge=0.0, le=0.2)
    """what a pair that was never scored counts for, on the same scale"""
    unseen_share: float = Field(default=2.0, ge=0.0)
    """the unknown pairs inside a group are scored, if at most so many for each known one"""
    keep: str = Field(default="medoid", pattern=r"^(medoid|first|longest|.+:(asc|desc))$")
    """representative: medoid, first, longest, or a column and a direction, as score:desc"""


class ComputeSettings(Stage):
    """Where and how the models run: device and precision move probabilities a little, the rest nothing."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, mps, cuda or cuda:N"""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """auto: int8 on CPUs with VNNI, bf16 where the hardware is faster in it, else fp32"""
    batch_tokens: int | None = Field(default=None, ge=64, le=1_000_000)
    """tokens per batch through a model; by default 4,096, on a GPU 65,536"""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; by default all cores"""
    trust_remote_code: bool = False
    """run Python code that comes with a model, which can do anything"""


class OutputSettings(Stage):
    """What the run writes."""

    singletons: bool = False
    """list documents without a duplicate in clusters.parquet too"""


class StoreSettings(Stage):
    """How long a store can go back."""

    keep_generations: int = Field(default=3, ge=1)
    """generations kept on disk, the current one among them: rollback goes back to any of them"""


class MiningSettings(StagedSettings):
    """The settings of one run or store, a model per stage."""

    corpus: CorpusSettings = CorpusSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    clustering: ClusteringSettings = ClusteringSettings()
    compute: ComputeSettings = ComputeSettings()
    output: OutputSettings = OutputSettings()
    store: StoreSettings = StoreSettings()


def load_settings(
    config: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> MiningSettings:
    """Build the settings of a run from a YAML file and overrides; the overrides win.

    Args:
        config: a YAML file that maps stages to their settings. Both may be left out.
        overrides: a value by `"stage.key"` or by the key alone; or a mapping of settings by the name of
            their stage.

    Raises:
        SettingsError: a file that cannot be read, an unknown setting or a value out of range.

    Examples:
        >>> settings = load_settings(overrides={"threshold": 0.8, "retrieval": {"floor": 0.5}})
        >>> settings.rerank.threshold, settings.retrieval.floor
        (0.8, 0.5)
    """
    return load_staged(MiningSettings, config, overrides)
