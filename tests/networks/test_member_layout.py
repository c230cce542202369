from __future__ import annotations

import pytest
import torch

from mbrl.data import Task, make_generator
from mbrl.models import GaussianEnsemble, ObsState
from mbrl.models.predict_members import predict_members
from mbrl.networks.member_layout import block_layout, layout, padded_layout

MEMBERS = 4
DRAWS = {
    "balanced": torch.arange(4).repeat(10),
    "some": torch.tensor([3, 1, 1, 3, 1]),
    "one": torch.full((7,), 2),
    "none": torch.zeros(0, dtype=torch.int64),
    "uneven": torch.randint(4, (101,), generator=make_generator("cpu", 0)) ** 2 % 4,
}


@pytest.mark.parametrize("make", [padded_layout, block_layout])
@pytest.mark.parametrize("draw", sorted(DRAWS))
def test_every_row_meets_its_member_and_comes_back(make: object, draw: str) -> None:
    member = DRAWS[draw]
    places = make(member, MEMBERS)  # type: ignore[operator]
    rows = torch.arange(len(member), dtype=torch.float32).view(-1, 1) + 1
    lines = torch.arange(MEMBERS) if places.members is None else places.members
    if len(member):
        table = places.gather(rows) * 100 + lines.view(-1, 1, 1)  # what line's member would say
        assert torch.equal(places.restore(table)[:, 0], rows[:, 0] * 100 + member)


def test_padded_layout_evaluates_no_member_that_nobody_asks() -> None:
    places = padded_layout(DRAWS["some"], MEMBERS)
    assert places.members is not None
    assert places.members.tolist() == [1, 3]
    assert places.index.shape == (2, 3)
    assert padded_layout(DRAWS["balanced"], MEMBERS).index.shape == (4, 10)


def test_block_layout_has_shapes_that_depend_on_the_number_of_rows_alone() -> None:
    shapes = {tuple(block_layout(torch.full((40,), m), MEMBERS).index.shape) for m in range(4)}
    shapes.add(tuple(block_layout(DRAWS["balanced"], MEMBERS).index.shape))
    shapes.add(tuple(layout(torch.empty(40, dtype=torch.int64, device="meta"), MEMBERS).index.shape))
    assert shapes == {(24, 2)}


@pytest.mark.parametrize("known", [None, "mbrl.envs.terminations.never"])
def test_a_few_members_say_what_they_say_among_all(known: str | None) -> None:
    model = GaussianEnsemble(members=4, elites=None, hidden=[8])
    model.build(Task("", 3, 2, (-1.0,) * 2, (1.0,) * 2, known_terminated=known))
    obs, action = torch.randn(5, 3, generator=make_generator("cpu", 1)), torch.zeros(5, 2)
    with torch.no_grad():
        everyone = model.predict(obs, action)
        few = predict_members(model, ObsState(obs, make_generator("cpu", 0)), action, torch.tensor([3, 1]))
    for name in ("mean", "var", "reward_mean", "reward_var", "terminated_logit"):
        said, among = getattr(few, name), getattr(everyone, name)
        assert (said is None) == (among is None)
        if said is not None:
            assert torch.allclose(said, among[[3, 1]], atol=1e-6)
