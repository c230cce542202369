"""`SAC(initial="ravl")`: first weights as in EDAC's and RAVL's codes, and those of MBPO's as they always were."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import Task, make_generator
from mbrl.errors import ConfigError
from mbrl.networks import Initial, LipMLP, SpectralClip
from mbrl.policies import SAC
from mbrl.spec import from_spec

TASK = Task("", obs_size=3, action_size=2, action_low=(-1, -1), action_high=(1, 1))


def built(initial: Initial = "ravl", **options: object) -> SAC:
    learner = SAC(hidden=[64, 64, 64], critics=4, initial=initial, **options)  # type: ignore[arg-type]
    learner.build(TASK, 0)
    return learner


def fills(weight: torch.Tensor, bound: float) -> bool:
    """Whether numbers lie in ±bound, and reach nearly as far on both sides."""
    return -bound <= weight.min() < -0.9 * bound and 0.9 * bound < weight.max() <= bound


def test_hidden_layers() -> None:
    learner = built()
    for stack, size in ((learner.policy.hidden, 3), (learner.critics.hidden, 5)):
        assert all(torch.equal(bias, torch.full_like(bias, 0.1)) for bias in stack.biases)
        for weight, inputs in zip(stack.weights, (size, 64, 64), strict=True):
            assert fills(weight, inputs**-0.5)
        assert len(stack.weights[0]) == 1 or not torch.equal(stack.weights[0][0], stack.weights[0][1]), "critics differ"


def test_heads_begin_near_nothing() -> None:
    learner, obs = built(), torch.randn(50, 3, generator=make_generator("cpu", "obs"))
    assert fills(learner.policy.head_weight, 1e-3) and learner.policy.head_bias.abs().max() <= 1e-3
    assert learner.policy.head_bias.abs().max() > 1e-4
    assert fills(learner.critics.head_weight, 3e-3) and learner.critics.head_bias.abs().max() <= 3e-3
    mean, log_sigma = learner.policy.distribution(obs)
    assert mean.abs().max() < 0.02 and log_sigma.abs().max() < 0.02
    assert learner.critics(obs, mean).abs().max() < 0.05
    plain = built("mbpo")
    assert plain.policy.distribution(obs)[0].abs().max() > 0.1


def test_targets_begin_as_the_critics() -> None:
    learner = built()
    pairs = zip(learner.critics.parameters(), learner.target_critics.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_mbpo_is_the_default_and_draws_what_it_drew() -> None:
    default = SAC(hidden=[64, 64, 64], critics=4)
    default.build(TASK, 0)
    plain = built("mbpo")
    assert all(torch.equal(one, other) for one, other in zip(default.parameters(), plain.parameters(), strict=True))
    assert all(not bias.any() for bias in plain.critics.hidden.biases)


@pytest.mark.parametrize("constraint", [SpectralClip(2.0), LipMLP(0.1)], ids=lambda part: type(part).__name__)
def test_a_constraint_knows_these_weights(constraint: SpectralClip | LipMLP) -> None:
    learner = built(critic_constraint=constraint)
    before = learner.critics.lipschitz_bound()
    if isinstance(constraint, SpectralClip):
        assert bool((before <= 2.0 * (1 + 1e-4)).all())
    assert bool(torch.isfinite(before).all())


def test_it_is_part_of_the_spec_and_older_specs_mean_mbpo() -> None:
    spec = built().spec
    assert from_spec(spec).initial == "ravl"
    older = {name: value for name, value in SAC().spec["init_args"].items() if name not in ("initial", "actor_lr_cosine")}
    learner = from_spec({"class_path": spec["class_path"], "init_args": older}, recorded=True)
    assert learner.initial == "mbpo" and learner.actor_lr_cosine is None
    with pytest.raises(ConfigError, match=r"SAC\(initial=…\): expected one of mbpo, ravl, got 'edac'"):
        SAC(initial="edac")  # type: ignore[arg-type]
