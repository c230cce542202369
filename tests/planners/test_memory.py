"""Memory: what acting remembers is forgotten by row and survives a checkpoint."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from mbrl.planners.memory import Memory


def fresh() -> Memory:
    return Memory(
        3, torch.Generator().manual_seed(0), plan=torch.full((3, 2, 2), 0.5), count=torch.zeros(3, dtype=torch.int64)
    )


def test_reset_forgets_only_the_ended_rows() -> None:
    memory = fresh()
    memory.tensors = {"plan": torch.ones(3, 2, 2), "count": torch.tensor([4, 5, 6])}
    memory.reset(torch.tensor([False, True, False]))
    assert memory.tensors["count"].tolist() == [4, 0, 6]
    assert memory.tensors["plan"][:, 0, 0].tolist() == [1, 0.5, 1]


def test_in_place_change_does_not_reach_the_initial_values() -> None:
    memory = fresh()
    memory.tensors["count"] += 7
    memory.reset(torch.ones(3, dtype=torch.bool))
    assert memory.tensors["count"].tolist() == [0, 0, 0]


def test_loaded_memory_continues() -> None:
    memory = fresh()
    memory.tensors["count"] = torch.tensor([1, 2, 3])
    torch.rand(4, generator=memory.generator)
    state = memory.state_dict()
    expected = torch.rand(4, generator=memory.generator)
    resumed = fresh()
    resumed.load_state_dict(state)
    assert resumed.tensors["count"].tolist() == [1, 2, 3]
    assert torch.equal(torch.rand(4, generator=resumed.generator), expected)
    resumed.tensors["count"] += 1
    assert memory.tensors["count"].tolist() == [1, 2, 3]
    resumed.reset(torch.tensor([True, False, False]))
    assert resumed.tensors["count"].tolist() == [0, 3, 4]


def test_loaded_memory_lies_where_its_generator_draws() -> None:
    state, resumed = fresh().state_dict(), fresh()  # a checkpoint is read on the CPU
    resumed.generator = SimpleNamespace(device=torch.device("meta"), set_state=lambda state: None)  # type: ignore[assignment]
    resumed.load_state_dict(state)
    assert all(tensor.device.type == "meta" for tensor in resumed.tensors.values())
