"""What the tests share: the miner with the models of the package, and tiny models made once."""

import os
from collections.abc import Iterator

os.environ["DUPMINE_NOW"] = "1700000000"  # so that the same updates write the same commits
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the hub's library is imported; no test needs it

import pytest
from hypothesis import settings

from dupmine import Miner

from .helpers.tiny_models import TinyModels, make_tiny_models

# A busy machine is no failure.
settings.register_profile("dupmine", deadline=None)
settings.load_profile("dupmine")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep all processes of the tests away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUPMINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def miner() -> Miner:
    # The planted corpus was chosen with these models in fp32; inference/test_int8.py is about int8.
    # A GPU's last digits depend on the batch; test_devices.py is about that.
    return Miner(progress=False, precision="fp32", device="cpu")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("tiny"))
