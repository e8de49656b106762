"""The settings as keyword arguments, so that editors complete them and type checkers check them.

`dupmine.settings` has their ranges, defaults and descriptions; a test holds the two equal.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class CorpusKeywords(TypedDict, total=False):
    """`CorpusSettings` as keywords."""

    encoding: str | None
    delimiter: str | None
    quote: str | None
    escape: str | None
    text_column: str | None
    id_column: str | None
    format: str
    encoding_errors: Literal["strict", "replace"]
    header: bool
    columns: str | None
    nulls: Literal["error", "drop", "empty"]
    max_tokens: int
    max_columns: int
    max_expansion: int
    strict_language: bool


class RetrievalKeywords(TypedDict, total=False):
    """`RetrievalSettings` as keywords."""

    bi_encoder: str
    max_k: int
    floor: float
    index: str
    nlist: int | None
    nprobe: int | None
    target_recall: float


class RerankKeywords(TypedDict, total=False):
    """`RerankSettings` as keywords."""

    cross_encoder: str
    threshold: float | None
    target_precision: float | None
    calibrate: bool
    decision: Literal["auto", "pair", "corpus"]
    bands: Literal["auto", "off"]
    audit: int
    symmetric: bool
    head: Literal["auto", "sigmoid", "softmax", "nli", "score"]
    score_max: float


class ClusteringKeywords(TypedDict, total=False):
    """`ClusteringSettings` as keywords."""

    method: Literal["guarded", "components"]
    agreement: float
    unknown: float
    unseen_share: float
    keep: str


class ComputeKeywords(TypedDict, total=False):
    """`ComputeSettings` as keywords."""

    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"]
    batch_tokens: int | None
    threads: int | None
    trust_remote_code: bool


class OutputKeywords(TypedDict, total=False):
    """`OutputSettings` as keywords."""

    singletons: bool


class StoreKeywords(TypedDict, total=False):
    """`StoreSettings` as keywords."""

    keep_generations: int


class SettingKeywords(
    CorpusKeywords,
    RetrievalKeywords,
    RerankKeywords,
    ClusteringKeywords,
    ComputeKeywords,
    OutputKeywords,
    StoreKeywords,
    total=False,
):
    """Every setting by its key, as `threshold=0.8`, or by its stage, as `rerank={"threshold": 0.8}`."""

    corpus: CorpusKeywords
    retrieval: RetrievalKeywords
    rerank: RerankKeywords
    clustering: ClusteringKeywords
    compute: ComputeKeywords
    output: OutputKeywords
    store: StoreKeywords
