from __future__ import annotations

import pytest
import torch

from mbrl.data import make_generator
from mbrl.models import GaussianEnsemble
from mbrl.models.target_normalizer import TargetNormalizer
from tests.models.linear_task import TASK, S, linear_rows


def built(**options: bool) -> GaussianEnsemble:
    model = GaussianEnsemble(members=2, elites=2, hidden=[4], max_epochs=1, **options)  # type: ignore[arg-type]
    model.build(TASK)
    return model


def fitted() -> GaussianEnsemble:
    model, rows = built(), linear_rows(60)
    rows.next_obs[:, 0] = rows.obs[:, 0]
    model.refit(rows, make_generator("cpu", 0))
    return model


def test_what_never_moves_is_told() -> None:
    normalizer = TargetNormalizer(3)
    changes = torch.tensor([[0.0, 1.0, 1e-7], [0.0, 2.0, -1e-7]])
    normalizer.fit(changes, torch.tensor([1.0, 2.0, 9.0]))
    assert normalizer.moves.tolist() == [False, True, False]
    assert normalizer.state_dict().keys() == {"mean_high", "mean_low", "sd", "moves"}


def test_a_state_with_the_older_key_is_read() -> None:
    model = fitted()
    state = model.state_dict()
    assert not state["target_normalizer.moves"].all()
    state["target_moves"] = state.pop("target_normalizer.moves")
    other = built()
    other.load_state_dict(state)
    assert torch.equal(other.target_normalizer.moves, model.target_normalizer.moves)
    assert torch.equal(other.target_normalizer.sd, model.target_normalizer.sd)
    nested = torch.nn.ModuleDict({"dynamics": built()})
    nested.load_state_dict({f"dynamics.{name}": tensor for name, tensor in state.items()})
    assert torch.equal(nested["dynamics"].target_normalizer.moves, model.target_normalizer.moves)  # type: ignore[union-attr]
    assert "target_moves" in state  # which stays the caller's


def test_a_state_without_statistics_leaves_targets_as_they_are() -> None:
    state, other = built(normalize_targets=False).state_dict(), fitted()
    other.load_state_dict(state)
    assert other.target_normalizer.sd.tolist() == [1.0] * (S + 1) and bool(other.target_normalizer.moves.all())


def test_a_state_that_has_lost_a_part_is_refused() -> None:
    state = fitted().state_dict()
    del state["target_normalizer.moves"]
    with pytest.raises(RuntimeError, match=r"target_normalizer\.moves"):
        built().load_state_dict(state)
