"""`OpenLoop`: whoever looks once in so many steps decides as often, and nothing outlives an episode."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.planners import ICEM, PETS, FixedPolicy, Memory, OpenLoop, evaluate
from tests.planners.exact_models import WALK, WalkModel
from tests.planners.test_decide import Countdown
from tests.planners.test_dyna import Line, dyna


class Ones(Line):
    """Each step earns 1; environment i ends its k-th episode after a scripted number of steps, the last again and again."""

    def __init__(self, *lengths: list[int]) -> None:
        super().__init__(len(lengths))
        self.lengths = lengths

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.number = [0] * self.num_envs

    def step(self, action: Tensor) -> Transitions:
        self.actions.append(action.clone())
        self.time += 1
        limits = torch.tensor([part[min(n, len(part) - 1)] for part, n in zip(self.lengths, self.number, strict=True)])
        self.ended = self.time >= limits
        self.number = [n + int(end) for n, end in zip(self.number, self.ended.tolist(), strict=True)]
        self.time[self.ended] = 0
        one = torch.ones(self.num_envs)
        return Transitions(self.obs, action, one, self.obs, self.ended, torch.zeros_like(self.ended))


class Watched(FixedPolicy):
    """Halves of the action before, and a note of each decision."""

    def __init__(self) -> None:
        super().__init__(Countdown())
        self.asked: list[tuple[int, list[float]]] = []

    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        self.asked.append((length, memory.tensors["prev_action"][:, 0].tolist()))
        return super().decide(obs, memory, length, snapshot=snapshot)


def watched() -> Watched:
    planner = Watched()
    planner.build(WALK)
    return planner


@pytest.mark.check("srl-9.6")
@pytest.mark.parametrize("n", [1, 2, 7, 30, 1000, 1001])
def test_steps_that_earn_one_and_never_end_count_their_decisions(n: int) -> None:
    experience, planner = Ones([1000]), watched()
    found = evaluate(OpenLoop(planner, experience, n), experience, 1, seed=0)
    assert found.returns.tolist() == [1000] and found.lengths.tolist() == [1000]
    assert found.decisions is not None and found.decisions.tolist() == [math.ceil(1000 / n)]
    assert [length for length, _ in planner.asked[: math.ceil(1000 / n)]] == [n] * math.ceil(1000 / n)


@pytest.mark.check("srl-9.6")
def test_an_end_within_a_sequence_drops_its_rest_and_begins_anew() -> None:
    """The other environment's sequence goes on, and its memory isn't touched by the decision beside it."""
    experience, planner = Ones([3, 9], [9]), watched()
    found = evaluate(OpenLoop(planner, experience, 5), experience, 2, seed=0)
    assert found.returns.tolist() == [3, 9] and found.decisions is not None and found.decisions.tolist() == [1, 2]
    halves = [2.0**-step for step in range(1, 6)]
    taken = torch.stack(experience.actions)[:, :, 0]  # T x N
    assert taken[:8, 0].tolist() == halves[:3] + halves  # it begins at half of 0 + 1 again
    assert taken[:5, 1].tolist() == halves
    assert taken[5, 1].item() == 0.5 * (1 + halves[-1])  # after its own last action, whatever was decided at step 3
    assert [before for _, before in planner.asked[:3]] == [[0, 0], [0, halves[-1]], [halves[-1], halves[-1]]]


@pytest.mark.check("srl-9.6")
def test_a_constant_optimal_action_earns_the_same_at_every_length_whoever_decides() -> None:
    """From 0 the walk's best is to stay: a policy that holds 0 and an exact planner tie."""
    planner = PETS(WalkModel(), ICEM(8, 2, iterations=2), horizon=2, particles=1, warmup_steps=0)
    planner.build(WALK)
    policy = dyna()
    with torch.no_grad():
        for parameter in policy.learner.parameters():
            parameter.zero_()
    for acting in (planner, policy):
        experience = Line(1)
        one, nine = (evaluate(OpenLoop(acting, experience, n), experience, 1, seed=0).returns.item() for n in (1, 9))
        assert one == pytest.approx(nine, abs=0.2) and one == pytest.approx(0.0, abs=0.2)


@pytest.mark.check("srl-9.6")
@pytest.mark.parametrize("make", ["policy", "plan"])
def test_one_step_per_decision_is_a_plain_evaluation(make: str) -> None:
    planner: Any = watched() if make == "policy" else PETS(WalkModel(), ICEM(8, 2), horizon=3)
    planner.build(WALK)
    plain, open_loop = Line(3), Line(3)
    expected = evaluate(planner, plain, 3, seed=4)
    found = evaluate(OpenLoop(planner, open_loop), open_loop, 3, seed=4)
    assert torch.equal(torch.stack(open_loop.actions), torch.stack(plain.actions))
    assert torch.equal(found.returns, expected.returns) and torch.equal(found.lengths, expected.lengths)
    assert found.decisions is not None and torch.equal(found.decisions, found.lengths)
    assert expected.decisions is not None and torch.equal(expected.decisions, expected.lengths)


def test_random_lengths_are_drawn_for_each_decision_and_each_environment() -> None:
    experience, planner = Ones([60], [60]), watched()
    found = evaluate(OpenLoop(planner, experience, 2, 6), experience, 2, seed=0)
    lengths = [length for length, _ in planner.asked]
    assert set(lengths) == {2, 3, 4, 5, 6}
    assert found.decisions is not None and all(60 / 6 < count < 60 / 2 for count in found.decisions.tolist())
    taken = torch.stack(experience.actions)[:, :, 0]  # a decision begins above what precedes it, and halves go down
    begins = [[0, *(step for step in range(1, 60) if column[step] > column[step - 1])] for column in taken.T.tolist()]
    assert begins[0] != begins[1] and [len(part) for part in begins] == found.decisions.tolist()
    for column, starts in zip(taken.T.tolist(), begins, strict=True):  # each from its own memory
        follows = [(column[step - 1] + (step in starts)) / 2 for step in range(1, 60)]
        assert column == pytest.approx([0.5, *follows])
    again = Ones([60], [60])
    evaluate(OpenLoop(watched(), again, 2, 6), again, 2, seed=0)
    assert torch.equal(torch.stack(again.actions), torch.stack(experience.actions))


@pytest.mark.parametrize(("n", "own"), [(1, [1] * 12), (3, [1] * 4), (6, [2] * 2), (8, [3, 3])])
def test_steps_of_a_repeated_planner_are_held_in_the_primitive_environment(n: int, own: list[int]) -> None:
    experience, planner = Ones([12]), watched()
    evaluate(OpenLoop(planner, experience, n, repeat=3), experience, 1, seed=0)
    assert [length for length, _ in planner.asked] == own
    taken = torch.stack(experience.actions)[:, 0, 0].tolist()
    assert taken[: min(n, 6)] == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25][: min(n, 6)]


@pytest.mark.parametrize("options", [(0,), (3, 2), (1, 2, 0), (1.5,)])
def test_lengths_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match=r"OpenLoop\((shortest|longest|repeat)=…\): expected a whole number of at least"):
        OpenLoop(watched(), Line(1), *options)


def test_memories_of_other_evaluations_are_apart() -> None:
    planner, experience = watched(), Line(2)
    actor = OpenLoop(planner, experience, 4)
    one, other = (actor.memory(2, make_generator("cpu", seed)) for seed in (0, 1))
    actor.act(experience.obs, one, explore=False)
    assert other.tensors["left"].tolist() == [0, 0] and one.tensors["left"].tolist() == [3, 3]
