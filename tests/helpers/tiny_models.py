"""Real models of a few kilobytes with seeded random weights: `python tests/helpers/tiny_models.py FOLDER`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

MAX_LENGTH = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789?+#.,'-"
WORDS = """
    how what why where who when which do does did is are was can could should would i you we they it
    my your a an the of to in on at for with from and or not no best good way learn python java code
    write read draw paint cook bake bread cat dog horse house car money job lose weight fast sky
    blue red green city country river sea travel buy sell fix clean build make find get start stop
    run walk play sing guitar piano english french math physics school book film song game phone
    computer internet email account delete change open close long short old new big small many much
    more most people person man woman child friend love hate happy sad time day year week morning
    night work home food water air fire earth sun moon star tree leaf stone
"""
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.4,  # so that random weights give answers that differ
}

# name -> (id2label, problem_type)
HEADS: dict[str, tuple[list[str], Any]] = {
    "sigmoid": (["duplicate"], None),
    "regression": (["similarity"], "regression"),
    "softmax": (["different", "duplicate"], None),
    "nli-cen": (["contradiction", "entailment", "neutral"], None),
    "nli-enc": (["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], None),
    "nli-nce": (["neutral", "contradiction", "entailment"], None),
    "unnamed": (["LABEL_0", "LABEL_1", "LABEL_2"], None),
    "four": (["a", "b", "c", "d"], None),
}


@dataclass(frozen=True, slots=True)
class TinyModels:
    """A folder of models: each of `HEADS`, and those that have a property here."""

    folder: Path

    def __getitem__(self, name: str) -> str:
        """Return the path of a model as a setting takes it."""
        path = self.folder / name
        assert path.is_dir(), name
        return str(path)

    def broken(self, name: str, folder: Path, files: Mapping[str, bytes | None]) -> str:
        """Copy a model to `folder`, with `files` changed or, where None, left out."""
        shutil.copytree(self[name], folder, ignore=shutil.ignore_patterns(*files))
        for file, content in files.items():
            if content is not None:
                (folder / file).write_bytes(content)
        return str(folder)


def make_tiny_models(folder: Path) -> TinyModels:
    """Write all models into `folder`, each below 1 MB.

    Those of `HEADS` are BERT cross-encoders; `roberta` is one with one label; `bert` has no head;
    `bi-encoder`, `bi-encoder-roberta` and `static` are sentence-transformers models.
    """
    torch.manual_seed(0)
    bert, roberta = bert_tokenizer(), roberta_tokenizer()
    sizes = {"vocab_size": len(bert), "max_position_embeddings": MAX_LENGTH, **SIZES}
    for name, (labels, problem) in HEADS.items():
        config = BertConfig(id2label=dict(enumerate(labels)), problem_type=problem, **sizes)
        _save(BertForSequenceClassification(config), bert, folder / name)
    _save(BertModel(BertConfig(**sizes)), bert, folder / "bert")
    # RoBERTa counts its positions from the padding id, so two of them are not for tokens.
    sizes |= {"vocab_size": len(roberta), "max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1}
    one_label = RobertaConfig(id2label={0: "duplicate"}, pad_token_id=1, **sizes)
    _save(RobertaForSequenceClassification(one_label), roberta, folder / "roberta")
    _save(RobertaModel(RobertaConfig(pad_token_id=1, **sizes)), roberta, folder / "roberta-body")
    _save_bi_encoder(folder / "bert", folder / "bi-encoder")
    _save_bi_encoder(folder / "roberta-body", folder / "bi-encoder-roberta")
    static = StaticEmbedding(bert.backend_tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save(str(folder / "static"), create_model_card=False)
    return TinyModels(folder)


def bert_tokenizer() -> PreTrainedTokenizerFast:
    """Return a lower-casing WordPiece tokenizer of `WORDS`, letters and word ends."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    endings = [f"##{letter}" for letter in LETTERS]
    pieces = [*special, *LETTERS, *endings, *WORDS.split(), "##s", "##ing", "##er"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # as its authors left it
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that sets pairs as `<s> a </s></s> b </s>`, and states no limit."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = [("o", "w"), ("h", "ow"), ("i", "n"), ("in", "g"), ("t", "h"), ("th", "e"), ("\u0120", "a")]
    pieces += [first + second for first, second in merges]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # as its authors left it
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save_bi_encoder(body: Path, folder: Path) -> None:
    transformer = Transformer(str(body), max_seq_length=MAX_LENGTH)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    model.save(str(folder), create_model_card=False)


if __name__ == "__main__":
    print(make_tiny_models(Path(sys.argv[1])).folder)
