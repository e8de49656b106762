"""What the tests share: the miner with the models of the package, and tiny models made once."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the hub's library is imported; no test needs it

import pytest
from hypothesis import settings

from dupmine import Miner

from .tiny_models import TinyModels, make_tiny_models

# A busy machine is no failure.
settings.register_profile("dupmine", deadline=None)
settings.load_profile("dupmine")


@pytest.fixture(scope="session")
def miner() -> Miner:
    return Miner(progress=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("tiny"))
