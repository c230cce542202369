"""Dyna's tick: when it fits, imagines and learns, and from what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Generator, Task, Transitions, make_generator
from mbrl.envs.experience import Experience
from mbrl.errors import ConfigError, DivergedError, UnsupportedError
from mbrl.models import DynamicsModel, GaussianEnsemble
from mbrl.planners import (
    ActionSelector,
    BatchContext,
    BatchHook,
    BatchPenalty,
    ClampToData,
    Dyna,
    PolicyMode,
    Situation,
    evaluate,
)
from mbrl.policies import SAC, BoundCriticTerm, CriticContext, CriticTerm, Learner, Policy
from mbrl.uncertainty import MeanDisagreement
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.rollouts.test_imagination import NoisyPolicy


class Line(Experience):
    """The walk itself: s' = s + 0.1·a, ends beyond ±1, cut after 50 steps."""

    def __init__(self, num_envs: int = 1) -> None:
        self.task, self.num_envs = WALK, num_envs
        self.obs = torch.zeros(num_envs, 1)
        self.time = torch.zeros(num_envs, dtype=torch.int64)
        self.ended = torch.zeros(num_envs, dtype=torch.bool)
        self.actions: list[Tensor] = []

    def reset(self, seed: int) -> None:
        self.obs = torch.zeros(self.num_envs, 1)
        self.time.zero_()

    def step(self, action: Tensor) -> Transitions:
        self.actions.append(action)
        next_obs = self.obs + 0.1 * action
        self.time += 1
        terminated = next_obs[:, 0].abs() > 1
        truncated = (self.time >= 50) & ~terminated
        episode = torch.zeros(self.num_envs, dtype=torch.int64)
        reward = -next_obs[:, 0].square()
        rows = Transitions(self.obs, action, reward, next_obs, terminated, truncated, extras={"episode": episode})
        self.ended = ended = terminated | truncated
        self.obs = torch.where(ended[:, None], torch.zeros_like(next_obs), next_obs)
        self.time[ended] = 0
        return rows

    def finished(self) -> list[tuple[float, int]]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.obs = state["obs"]

    def close(self) -> None:
        self.actions = []


class Recorder(Learner):
    """Learns nothing, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Transitions] = []
        self.terms: list[Sequence[BoundCriticTerm]] = []

    def build(self, task: Task, seed: int = 0) -> None:
        self.policy: Policy = NoisyPolicy(task.action_size)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

    def update(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        self.batches.append(batch)
        self.terms.append(critic_terms)
        return {"critic_loss": batch.reward.mean()}

    def value(self, obs: Tensor) -> Tensor:
        return obs.sum(-1)[None]


class Counted(WalkModel):
    """Counts its fits."""

    def __init__(self, bad_above: float | None = None) -> None:
        super().__init__(noise=0.01, bad_above=bad_above)
        self.fits: list[int] = []

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, float | Tensor]:
        self.fits.append(len(rows))
        assert value.value(rows.obs).shape == (1, len(rows))
        return {"loss": 0.5}


def dyna(**options: Any) -> Dyna:
    settings: dict[str, Any] = {
        "warmup_steps": 20, "refit_every": 10, "rollouts_per_step": 5, "epoch_steps": 40, "updates_per_step": 3, **options,
    }  # fmt: skip
    planner = Dyna(settings.pop("dynamics", None) or Counted(), settings.pop("learner", None) or Recorder(), **settings)
    planner.build(WALK, seed=1)
    planner.make_optimizers()
    return planner


def run(planner: Dyna, ticks: int, num_envs: int = 1) -> Line:
    experience = Line(num_envs)
    for _ in range(ticks):
        planner.tick(experience)
    return experience


@pytest.mark.check("coplanner-30")
@pytest.mark.parametrize("num_envs", [1, 4])
def test_updates_a_step_over_an_epoch(num_envs: int) -> None:
    """Exactly G updates for each real step after the warm-up, from the first epoch on."""
    planner = dyna()
    run(planner, 20 // num_envs, num_envs)
    assert planner.env_steps == 20 and planner.learner.batches == []
    for _ in range(2):
        before = len(planner.learner.batches)
        run(planner, 40 // num_envs, num_envs)
        assert len(planner.learner.batches) - before == 40 * 3


@pytest.mark.parametrize("num_envs", [1, 4])
def test_updates_a_step_may_change_with_the_epoch(num_envs: int) -> None:
    planner = dyna(updates_per_step=[0, 2, 1, 5], epoch_steps=20)
    experience, counts = Line(num_envs), []
    for _ in range(100 // num_envs):
        before = len(planner.learner.batches)
        planner.tick(experience)
        counts.append((len(planner.learner.batches) - before) // num_envs)
        if planner.env_steps > 20:
            assert planner.metrics.pop()["train/actor_updates_per_step"] == counts[-1]
    ends = [num_envs * (tick + 1) for tick in range(len(counts))]  # of each tick, in real steps
    assert counts == [0 if end <= 20 else (1, 3, 5, 5, 5)[(end - 20) // 20] for end in ends]


def test_fits_when_due_on_all_real_rows() -> None:
    planner = dyna()
    run(planner, 45)
    assert planner.dynamics.fits == [20, 30, 40]
    assert planner.metrics.pop()["model/loss"] == 0.5


@pytest.mark.check("coplanner-27")
def test_a_batch_mixes_real_and_model_rows() -> None:
    planner = dyna(batch_size=256, real_ratio=0.05)
    run(planner, 21)
    assert planner.real_rows == 12
    batch = planner.learner.batches[-1]
    assert len(batch) == 256
    real = {tuple(row) for row in planner.real_buffer.all().action.tolist()}
    assert [tuple(row) in real for row in batch.action.tolist()] == [True] * 12 + [False] * 244


@pytest.mark.check("coplanner-27")
@pytest.mark.parametrize(("ratio", "stored"), [(1.0, False), (0.0, True)])
def test_ratios_of_one_and_zero(ratio: float, stored: bool) -> None:
    planner = dyna(real_ratio=ratio)
    run(planner, 21)
    assert ("model" in planner.buffers_state()) is stored
    assert planner.real_rows == 256 * ratio


def test_the_model_buffer_holds_one_epoch_of_rollouts() -> None:
    planner = dyna(rollout_length=(0, 1, 1, 2), retain_epochs=1)
    run(planner, 20)
    assert planner.model_buffer.capacity == 200  # 40 steps x 5 rollouts x 1
    run(planner, 60)
    assert planner.model_buffer.capacity == 400


@pytest.mark.parametrize(
    ("options", "num_envs", "added"),
    [
        ({"refit_every": 100, "epoch_steps": 40}, 1, 500),  # more of a fit than of an epoch
        ({"refit_every": 10}, 40, 200),  # one fit per tick, of 40 steps each
    ],
)
def test_rollouts_of_a_fit_are_as_many_as_its_steps_and_all_kept(options: dict[str, Any], num_envs: int, added: int) -> None:
    planner = dyna(**options)
    run(planner, 20 if num_envs == 1 else 1, num_envs)
    assert planner.model_buffer.added == added == len(planner.model_buffer)
    before = planner.model_buffer.added
    run(planner, 100 // num_envs, num_envs)
    assert planner.model_buffer.added - before == 100 // num_envs * num_envs * 5


@pytest.mark.parametrize(("ratio", "size", "rows"), [(0.29, 100, 29), (0.05, 256, 12), (0.57, 100, 57), (0.999, 100, 99)])
def test_a_share_that_is_a_whole_number_of_rows_gives_that_number(ratio: float, size: int, rows: int) -> None:
    assert dyna(real_ratio=ratio, batch_size=size).real_rows == rows


def test_the_share_of_real_rows_follows_its_schedule() -> None:
    """Epochs of 40 steps after 20 of warm-up: 3 of 8 rows in the first, 5 in the second, 7 from the third on."""
    planner = dyna(real_ratio=[0, 2, 0.375, 0.875], batch_size=8, critic_terms=[Nothing()])
    run(planner, 150)
    real = {tuple(row) for row in planner.real_buffer.all().action.tolist()}
    batches, terms = planner.learner.batches, planner.learner.terms
    counts = [sum(tuple(row) in real for row in batch.action.tolist()) for batch in batches]
    assert [bound.model_rows for (bound,) in terms] == [slice(count, 8) for count in counts]
    assert counts == [3] * 39 * 3 + [5] * 40 * 3 + [7] * 51 * 3


def test_a_penalty_of_batches_rests_while_they_are_real_and_is_refused_where_they_always_are() -> None:
    options: dict[str, Any] = {"dynamics": GaussianEnsemble(members=2, elites=2, hidden=[8], weight_decay=0.0, max_epochs=1)}
    penalty = BatchPenalty(MeanDisagreement(), weight=1.0)
    for schedule in ([0, 2, 0.5, 1.0], [0, 2, 1.0, 0.5]):
        planner = dyna(real_ratio=schedule, epoch_steps=4, batch_hooks=[penalty], **options)
        run(planner, 40)
        assert planner.env_steps == 40
    with pytest.raises(ConfigError, match=r"expected batches with rows of the model for BatchPenalty, got real_ratio 1"):
        run(dyna(real_ratio=1.0, batch_hooks=[penalty], **options), 1)
    with pytest.raises(ConfigError, match=r"expected batches with rows of the model for ClampToData, got real_ratio 1.0"):
        run(dyna(real_ratio=1.0, rollout_hooks=[ClampToData()], **options), 1)


def test_a_smaller_share_of_real_rows_after_a_resume_finds_rollouts() -> None:
    first = dyna(real_ratio=1.0)
    run(first, 25)
    planner = dyna(real_ratio=0.5)
    planner.build(WALK, 0)
    planner.make_optimizers()
    planner.load_buffers_state(first.buffers_state())
    planner.env_steps = first.env_steps
    planner.learn(1)
    assert len(planner.model_buffer) > 0


@pytest.mark.parametrize(
    ("ratio", "refit_every", "fits_with_rollouts"),
    [
        ([0, 1, 1, 1], 10, []),
        ([2, 3, 1, 0.5], 40, [140]),  # where epoch 3 begins
        ([2, 3, 1, 0.5], 50, [120]),  # in epoch 2, but the next fit is due at 170
        ([0, 1, 0.5, 1], 40, [20]),
    ],
)
def test_while_the_share_is_one_no_rollouts_are_made_unless_it_falls_before_the_next_fit(
    ratio: list[float], refit_every: int, fits_with_rollouts: list[int]
) -> None:
    planner, made = dyna(real_ratio=ratio, refit_every=refit_every, batch_size=8), []
    imagine = planner.learning.imagine
    planner.learning.imagine = lambda *args: made.append(args[-1]) or imagine(*args)  # type: ignore[method-assign]
    run(planner, 160)
    assert made == fits_with_rollouts
    assert len(planner.learner.batches) == 140 * 3


def test_a_schedule_is_refused_as_such_and_checked_against_what_the_model_knows() -> None:
    with pytest.raises(ConfigError, match=r"real_ratio: expected a share, or \[first epoch, .* got \[0, 1, 0.5\]; \[0, 100"):
        dyna(real_ratio=[0, 1, 0.5])


def test_rollouts_start_from_real_rows() -> None:
    planner = dyna()
    run(planner, 20)
    starts = set(planner.real_buffer.all().obs[:, 0].tolist())
    assert set(planner.model_buffer.all().obs[:, 0].tolist()) <= starts
    assert planner.model_buffer.added == 50


def test_warm_up_draws_uniform_actions_or_the_policys() -> None:
    uniform = torch.cat(run(dyna(warmup_steps=400), 399).actions)
    assert uniform.abs().max() <= 1 and abs(uniform.mean()) < 0.1 and abs(uniform.var() - 1 / 3) < 0.05
    planner = dyna(warmup="policy")
    actions = torch.cat(run(planner, 5).actions)
    expected, _ = planner.learner.policy.sample(torch.zeros(1, 1), make_generator("cpu", 1, "exploration"))
    assert torch.equal(actions[:1], expected)


def test_evaluation_moves_no_training_stream() -> None:
    plain, evaluated = dyna(warmup="policy"), dyna(warmup="policy")
    experiences = Line(), Line()
    for i in range(40):
        plain.tick(experiences[0])
        if i == 15:
            evaluate(evaluated, Line(3), episodes=4, seed=7)
        evaluated.tick(experiences[1])
    assert torch.equal(torch.cat(experiences[0].actions), torch.cat(experiences[1].actions))
    assert torch.equal(plain.model_buffer.all().next_obs, evaluated.model_buffer.all().next_obs)


def _after(planner: Dyna, ticks: int) -> Dyna:
    run(planner, ticks)
    return planner


class Doubled(BatchHook):
    """Doubles rewards."""

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        batch.reward = batch.reward * 2
        return batch


class Nothing(CriticTerm):
    """Adds zero, and draws."""

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        context.report({"drawn": torch.rand((), generator=context.generator)})
        return batch.reward.new_zeros(())

    def check(self, dynamics: nn.Module, learner: Learner) -> None:
        if isinstance(dynamics, Counted) and dynamics.bad_above == 7.0:
            raise UnsupportedError(f"Nothing can't use {type(learner).__name__} with 7.0.")


class Shortened(BatchHook):
    """Leaves the first real row out, and says so."""

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        context.model_rows = slice(context.model_rows.start - 1, context.model_rows.stop - 1)
        return batch.select(slice(1, None))


def test_batch_hooks_and_critic_terms_reach_the_learner() -> None:
    terms = [Nothing(), Nothing()]
    plain, hooked = _after(dyna(), 22), _after(dyna(batch_hooks=[Doubled(), Shortened()], critic_terms=terms), 22)
    assert torch.equal(hooked.learner.batches[0].reward, 2 * plain.learner.batches[0].reward[1:])
    for i, bound in enumerate(hooked.learner.terms[0]):
        assert bound.term is terms[i] and bound.generator is hooked.streams[f"critic term {i}"]
        assert bound.model_rows == slice(hooked.real_rows - 1, hooked.batch_size - 1)
    assert not [name for name in plain.streams.state_dict() if name.startswith("critic term")]


def test_a_critic_term_that_draws_moves_no_other_stream() -> None:
    plain, termed = (
        _after(dyna(dynamics=WalkModel(noise=0.01), learner=SAC(hidden=[8]), critic_terms=terms), 22)
        for terms in ([], [Nothing(), Nothing()])
    )
    said, other = plain.streams.state_dict(), termed.streams.state_dict()
    assert set(other) - set(said) == {"critic term 0", "critic term 1"}
    assert all(torch.equal(said[name], other[name]) for name in said)
    learned = plain.learner.state_dict()
    assert all(torch.equal(learned[n], v) for n, v in termed.learner.state_dict().items() if isinstance(v, Tensor))
    assert 0 < termed.metrics.pop()["critic_term/drawn"] < 1


def test_critic_terms_are_asked_about_model_and_learner_before_training() -> None:
    with pytest.raises(UnsupportedError, match="Nothing can't use Recorder"):
        dyna(dynamics=Counted(bad_above=7.0), critic_terms=[Nothing()])


class Choosy(ActionSelector):
    """Refuses every model."""

    def select(self, situation: Situation) -> Tensor:
        return situation.policy.mode(situation.obs)

    def check(self, dynamics: DynamicsModel) -> None:
        raise UnsupportedError(f"Choosy can't use {type(dynamics).__name__}: it likes none.")


def test_selectors_are_asked_about_the_model_before_training() -> None:
    with pytest.raises(UnsupportedError, match="Choosy can't use Counted"):
        dyna(explore_selector=Choosy())


def test_the_exploration_selector_acts_in_the_environment_after_the_warm_up() -> None:
    plain, chosen = run(dyna(warmup="policy"), 21), run(dyna(warmup="policy", explore_selector=PolicyMode()), 21)
    assert torch.equal(torch.cat(chosen.actions[:20]), torch.cat(plain.actions[:20]))
    assert torch.equal(chosen.actions[20], NoisyPolicy().mode(torch.zeros(1, 1)))
    assert not torch.equal(plain.actions[20], chosen.actions[20])


def test_a_model_without_a_finite_rollout_stops_the_run() -> None:
    with pytest.raises(DivergedError, match="none of 50 did at step 20"):
        run(dyna(dynamics=Counted(bad_above=-10.0)), 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"real_ratio": 1.5},
            r"Dyna\(real_ratio=…\): expected a number from 0 to 1, or a list, each a finite number, got 1.5",
        ),
        ({"refit_every": 0}, r"Dyna\(refit_every=…\): expected a whole number of at least 1, got 0"),
        ({"updates_per_step": -1}, "expected a whole number of at least 0, or a list, each a whole number, got -1"),
        ({"updates_per_step": [0, 1, 2]}, r"updates_per_step: expected a number, or \[first epoch, .* got \[0, 1, 2\]"),
        ({"rollout_length": [1, 2]}, "rollout_length: expected"),
        ({"warmup": "random"}, r"Dyna\(warmup=…\): expected one of uniform, policy, got 'random'"),
        ({"finished_rollouts": "keep"}, r"Dyna\(finished_rollouts=…\): expected one of auto, drop, mask"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dyna(**options)


@pytest.mark.parametrize("capacity", [30, 100])
def test_a_run_that_goes_on_for_more_steps_keeps_its_old_rows(capacity: int) -> None:
    """The first run's buffer held 30 rows, as many as it had steps; the resumed one has 50."""
    first, resumed = dyna(real_capacity=30), dyna(real_capacity=capacity)
    run(first, 30)
    resumed.load_buffers_state(first.buffers_state())
    resumed.env_steps = 30
    run(resumed, 20)
    assert resumed.real_buffer.all().row.tolist() == list(range(50))[-capacity:]


def test_a_planner_that_is_built_again_starts_from_nothing() -> None:
    used, new = dyna(), dyna()
    run(used, 30)
    used.build(WALK, seed=1)
    for planner in (used, new):
        run(planner, 30)
    assert used.env_steps == new.env_steps == 30
    assert torch.equal(used.model_buffer.all().next_obs, new.model_buffer.all().next_obs)
    assert torch.equal(used.real_buffer.all().row, new.real_buffer.all().row)


def test_the_same_seed_gives_the_same_rows() -> None:
    a = _after(dyna(), 30)
    torch.manual_seed(123)  # the global generator plays no part
    b = _after(dyna(), 30)
    other = dyna()
    other.build(WALK, seed=2)
    run(other, 30)
    assert torch.equal(a.model_buffer.all().next_obs, b.model_buffer.all().next_obs)
    assert not torch.equal(a.model_buffer.all().next_obs, other.model_buffer.all().next_obs)


class Doubling(ActionSelector):
    """Doubles the action before, and begins with 0.1."""

    def select(self, situation: Situation) -> Tensor:
        assert situation.prev_action is not None
        return torch.where(situation.prev_action == 0, 0.1, 2 * situation.prev_action).clamp(-1, 1)


def test_the_action_before_lies_in_the_memory_until_the_episode_ends() -> None:
    planner = dyna(explore_selector=Doubling())
    memory, obs = planner.memory(2, make_generator("cpu", 0)), torch.zeros(2, 1)
    warmed = planner.warmup_action(obs, memory)
    assert torch.equal(planner.act(obs, memory, explore=True)[0], (2 * warmed).clamp(-1, 1))
    memory.reset(torch.tensor([True, False]))
    action, memory = planner.act(obs, memory, explore=True)
    assert action[0] == 0.1 and action[1] != 0.1
    planner.act(obs, memory, explore=False)
    assert torch.equal(memory.tensors["prev_action"], planner.learner.policy.mode(obs))


class Lasting(ActionSelector):
    """Each step 0.1 more than the one before it."""

    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"last": like.new_zeros(n, task.action_size)}

    def select(self, situation: Situation) -> Tensor:
        situation.memory["last"] = situation.memory["last"] + 0.1
        return situation.memory["last"]


def test_what_the_exploration_selector_remembers_lies_in_the_memory_until_the_episode_ends() -> None:
    planner = dyna(explore_selector=Lasting())
    memory, obs = planner.memory(2, make_generator("cpu", 0)), torch.zeros(2, 1)
    seen = [planner.act(obs, memory, explore=True)[0][:, 0].tolist() for _ in range(2)]
    planner.act(obs, memory, explore=False)  # an evaluation's action isn't the selector's
    restored = planner.memory(2, make_generator("cpu", 1))
    restored.load_state_dict(memory.state_dict())
    restored.reset(torch.tensor([True, False]))
    seen.append(planner.act(obs, restored, explore=True)[0][:, 0].tolist())
    assert torch.allclose(torch.tensor(seen), torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.1, 0.3]]))
