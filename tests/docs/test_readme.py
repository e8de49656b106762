"""The README's three ways, run as they stand there (on a shorter file), and the config files."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml

from dupmine import Miner, MiningResult, Store, load_settings
from dupmine.rerank.decision import Decision
from dupmine.settings import MiningSettings
from dupmine.staged import load_staged
from dupmine.training.settings import CrossEncoderTraining

from ..helpers.markdown import fenced_blocks
from ..helpers.shell import dupmine

ROOT = Path(__file__).parents[2]
# The header of the sample and questions that form doubtful pairs.
ALIKE = "id,qu q0610 q0404 q0039 q1881 q0646 q0616 q0915 q0078 q1055 q1381 q0365 q1597 q0950 q0354"
SHIPPED = Decision.load(ROOT / "models" / "quora-minilm-l6")
assert SHIPPED is not None
OWN_THRESHOLD = SHIPPED.thresholds.best_f1.threshold
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").glob("*.yaml")
    if not path.name.startswith("compare-")  # evaluation/test_compare.py has those
)


def example(name: str) -> str:
    """Return the block behind a `<!-- tested: name -->` line of the README."""
    [block] = fenced_blocks(ROOT / "README.md", name)
    return block.strip("\n")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configs and the first questions of the sample, as the working directory."""
    lines = (ROOT / "examples" / "questions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "questions.csv").write_text("".join(lines[:101]), encoding="utf-8")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_line(checkout: Path) -> None:
    program, *arguments = shlex.split(example("cli"))
    assert program == "dupmine"
    outcome = dupmine(*arguments)
    assert outcome.code == 0
    result = MiningResult.load(checkout / "duplicates")
    assert result.settings.rerank.threshold == OWN_THRESHOLD
    assert result.manifest["counts"]["documents"] == 100
    shown, printed = (
        [line.lstrip(" 0123456789,") for line in text.splitlines()]
        for text in (example("cli-output"), outcome.out)
    )
    assert shown
    assert set(shown) <= set(printed)


def test_the_store_lines(checkout: Path) -> None:
    lines = [shlex.split(line) for line in example("store").splitlines()]
    assert [program for program, *_ in lines] == ["dupmine"] * 3
    outputs = [dupmine(*arguments) for _, *arguments in lines]
    assert [output.code for output in outputs] == [0, 0, 0]
    assert Store.open(checkout / "questions.store").status()["documents"] == 100
    assert "doc_id" in outputs[2].out


def test_the_python_lines(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example("python"), "README.md", "exec"), {})
    printed, shown = capsys.readouterr().out, example("python-output")
    number = re.compile(r"\d\.\d+")
    assert number.sub("P", printed).split() == number.sub("P", shown).split()
    assert [float(p) for p in number.findall(printed)] == pytest.approx(
        [float(p) for p in number.findall(shown)], abs=0.05
    )


def test_the_lines_that_look_at_a_result(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (ROOT / "examples" / "questions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (checkout / "alike.csv").write_text(
        "".join(line for line in lines if line[:5] in ALIKE.split()), encoding="utf-8"
    )
    assert dupmine("mine", "alike.csv", "--out", "duplicates").code == 0
    exec(compile(example("look"), "README.md", "exec"), {})
    assert "decided by corpus" in capsys.readouterr().out
    strict, loose = (MiningResult.load(checkout / name) for name in ("strict", "duplicates"))
    assert strict.settings.rerank.threshold == 0.9
    assert strict.manifest["counts"]["accepted_pairs"] < loose.manifest["counts"]["accepted_pairs"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_complete_and_commented(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    kind = CrossEncoderTraining if config.stem.startswith("train-") else MiningSettings
    assert {stage: set(keys) for stage, keys in yaml.safe_load(text).items()} == {
        stage: set(keys) for stage, keys in kind().model_dump().items()
    }
    load_staged(kind, config)
    if kind is CrossEncoderTraining:
        said = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
        for stage in kind.stages().values():
            descriptions = [" ".join(str(field.description).split()) for field in stage.model_fields.values()]
            assert all(description in said for description in descriptions)
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"  \w+:", line):
            assert before.strip().startswith("#"), f"{line!r} has no comment"


def test_quickstart_is_the_default() -> None:
    assert load_settings(ROOT / "configs" / "quickstart.yaml") == MiningSettings()


def test_the_quora_config_mines_a_question_file(tmp_path: Path) -> None:
    rows = ["qid,question", "7,How do I learn Python?", "9,What is the best way to learn Python?", "11,C++"]
    (tmp_path / "questions.csv").write_text("\n".join(rows), encoding="utf-8")
    quora = Miner(config=ROOT / "configs" / "quora.yaml", progress=False)
    assert set(quora.mine(tmp_path / "questions.csv").clusters["doc_id"]) == {"7", "9"}
