"""Settings as keywords: equal to the models that check them, and known to a type checker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from dupmine import keywords
from dupmine.keywords import SettingKeywords
from dupmine.settings import MiningSettings

ROOT = Path(__file__).parents[1]
CONFIG = f"""
[mypy]
strict = true
follow_imports = skip
mypy_path = {ROOT / ".typing"}
explicit_package_bases = true
[mypy-dupmine.*]
follow_imports = silent
"""
CALLS = """
import dupmine
dupmine.{call}, threshold=0.8, rerank={{"audit": 0}}, nlist=None, progress=False, config="my.yaml")
dupmine.{call}, flor=0.6)
dupmine.{call}, floor="high")
dupmine.{call}, head="relu")
dupmine.{call}, rerank={{"thresold": 0.8}})
"""


@pytest.mark.parametrize("stage", MiningSettings.stages())
def test_every_setting_is_a_keyword(stage: str) -> None:
    model = MiningSettings.stages()[stage]
    types = get_type_hints(getattr(keywords, f"{stage.capitalize()}Keywords"))
    assert types == {name: field.annotation for name, field in model.model_fields.items()}
    every = get_type_hints(SettingKeywords)
    assert types.items() <= every.items()
    assert get_type_hints(every[stage]) == types


def test_keywords_are_settings_and_stages_only() -> None:
    stages = MiningSettings.stages()
    settings = {name for model in stages.values() for name in model.model_fields}
    assert get_type_hints(SettingKeywords).keys() == stages.keys() | settings


def test_a_type_checker_finds_wrong_names_and_values(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    calls = ["mine(['a']", "score_pairs([('a', 'b')]", "rank('a', ['b']", "Miner(None", "Store.create('s'"]
    (tmp_path / "calls.py").write_text("".join(CALLS.format(call=call) for call in calls))
    (tmp_path / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "calls.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    for i in range(len(calls)):
        wrong = [line.partition(": error: ")[2] for line in lines if 3 < int(line.split(":")[1]) - 7 * i < 8]
        assert wrong[0].startswith('Unexpected keyword argument "flor"')
        assert wrong[1].startswith('Argument "floor" to ')
        assert wrong[2].startswith('Argument "head" to ')
        assert wrong[3].startswith('Extra key "thresold" for TypedDict "RerankKeywords"')
        assert len(wrong) == 4
    assert len(lines) == 4 * len(calls)
