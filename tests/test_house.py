"""Imports run down only: a room of the package knows the rooms below it, and no other."""

from pathlib import Path

import grimp
import pytest

# From top to bottom. Rooms of one line do not know each other.
HOUSE = """
cli
commands
training
calibration
miner
linker
store export
pipeline
evaluation
results
report
rerank retrieval
inference corpus clustering
disk
settings
staged
schema progress errors formats keywords
messages
"""
FLOOR = {room: depth for depth, line in enumerate(HOUSE.split("\n")) for room in line.split()}
DATA = {"configs", "examples", "models"}  # hold files, and import nothing
ROOT = Path(__file__).parents[1]


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def runs_up(importer: str, imported: str) -> bool:
    """Whether an import leads to a room above, or to another room on the same floor."""
    own, other = room_of(importer), room_of(imported)
    return own != other and FLOOR[other] <= FLOOR[own]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("dupmine", cache_dir=None)


def test_every_module_has_its_room(graph: grimp.ImportGraph) -> None:
    rooms = {room_of(module) for module in graph.modules} - {"", "__main__"}
    assert rooms == FLOOR.keys() | DATA


def test_imports_run_down_only(graph: grimp.ImportGraph) -> None:
    wrong = []
    for importer in sorted(graph.modules):
        if room_of(importer) not in FLOOR:
            continue  # the public names and `python -m dupmine`, which nothing may import
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            if not room_of(imported):
                continue
            if runs_up(importer, imported):
                line = graph.get_import_details(importer=importer, imported=imported)[0]["line_number"]
                path = importer.replace(".", "/").removeprefix("dupmine/") + ".py"
                wrong.append(f"{path}:{line}: {room_of(importer)} imports {imported}, which is above it")
    assert wrong == []


def test_only_the_command_line_reads_the_public_names(graph: grimp.ImportGraph) -> None:
    assert graph.find_modules_that_directly_import("dupmine") == {"dupmine.cli"}  # for the version


def test_one_module_imports_faiss() -> None:
    whole = grimp.build_graph("dupmine", cache_dir=None, include_external_packages=True)
    assert whole.find_modules_that_directly_import("faiss") == {"dupmine.retrieval.index"}


def test_an_arrow_that_runs_up_is_seen() -> None:
    assert runs_up("dupmine.rerank.scorer", "dupmine.training.trainer")
    assert runs_up("dupmine.rerank.scorer", "dupmine.retrieval.index")
    assert not runs_up("dupmine.rerank.scorer", "dupmine.rerank.heads")
    assert not runs_up("dupmine.training.trainer", "dupmine.schema")


def test_tests_lie_in_the_rooms_they_are_about() -> None:
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms - FLOOR.keys() == {"helpers", "docs", "benchmarks"}
