"""Settings of every test: one thread, and global generators that no result may depend on."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _one_thread_and_seeds(request: pytest.FixtureRequest) -> Iterator[None]:
    """One intra-op thread; third parties that do draw globally draw the same in every run of a test."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - this is the global generator that third parties use
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)
