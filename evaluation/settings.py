"""The settings of a judgement."""

from __future__ import annotations

from ..settings import ComputeSettings, CorpusSettings, PairSettings, RerankSettings, StagedSettings


class JudgeSettings(StagedSettings):
    """How pairs are read and scored; `rerank.cross_encoder` and `rerank.threshold` do nothing here."""

    pairs: PairSettings = PairSettings()
    corpus: CorpusSettings = CorpusSettings()
    rerank: RerankSettings = RerankSettings()
    compute: ComputeSettings = ComputeSettings()
