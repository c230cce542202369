"""Termination functions against the simulators, and at their edges."""

from __future__ import annotations

import math

import pytest
import torch

from mbrl.envs import check_task, make_task, terminations

TRUNCATED_HUMANOID = {f"include_{name}_in_observation": False for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")}


@pytest.mark.check("coplanner-29")
@pytest.mark.parametrize(
    ("env_id", "kwargs", "obs_size"),
    [
        ("Hopper-v5", {}, 11),
        ("Walker2d-v5", {}, 17),
        ("HalfCheetah-v5", {}, 17),
        ("Ant-v5", {}, 105),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, 27),
        ("Humanoid-v5", {}, 348),
        ("Humanoid-v5", TRUNCATED_HUMANOID, 45),
        ("InvertedPendulum-v5", {}, 4),
        ("InvertedDoublePendulum-v5", {}, 9),
        ("Pendulum-v1", {}, 3),
        ("MountainCarContinuous-v0", {}, 2),
        ("Reacher-v5", {}, 10),
        ("Pusher-v5", {}, 23),
        ("Swimmer-v5", {}, 8),
        ("HumanoidStandup-v5", {}, 348),
    ],
)
def test_no_mismatch_with_the_simulator(env_id: str, kwargs: dict[str, bool], obs_size: int) -> None:
    task = make_task(env_id, kwargs, reward="learned")
    assert task.obs_size == obs_size
    assert task.known_terminated is not None
    steps = 5000 if env_id not in ("HumanoidStandup-v5",) else 200
    finding, *unseen = check_task(task, steps=steps, seed=3)  # raises at the first mismatch
    ends = int(finding.split(", ")[1].split()[0])
    never_ends = task.known_terminated.endswith(("never", "mountain_car_continuous"))
    assert (ends == 0) == never_ends, "a test in which nothing ends tells nothing"
    assert len(unseen) == (env_id == "MountainCarContinuous-v0")


def row(*values: float, size: int = 11) -> torch.Tensor:
    return torch.tensor([list(values) + [0.0] * (size - len(values))], dtype=torch.float64)


@pytest.mark.check("coplanner-29")
def test_hopper_at_minus_150_is_done() -> None:
    healthy = row(1.2)
    assert not terminations.hopper(healthy, healthy, healthy)
    far = healthy.clone()
    far[0, 5] = -150.0
    assert terminations.hopper(healthy, healthy, far)
    far[0, 5] = -99.9
    assert not terminations.hopper(healthy, healthy, far)


@pytest.mark.parametrize(
    ("name", "healthy", "done"),
    [
        ("hopper", [row(0.71), row(1.0, 0.19)], [row(0.7), row(1.0, 0.2), row(1.0, -0.2), row(1.0, 0.0, 100.0)]),
        ("walker2d", [row(0.81, 0.99), row(1.99, -0.99)], [row(0.8), row(2.0), row(1.0, 1.0), row(1.0, -1.0)]),
        ("ant", [row(0.2), row(1.0)], [row(0.19), row(1.01), row(0.5, math.nan), row(0.5, math.inf)]),
        ("humanoid", [row(1.01), row(1.99)], [row(1.0), row(2.0), row(math.nan)]),
        ("inverted_pendulum", [row(0.0, 0.2), row(5.0, -0.2)], [row(0.0, 0.21), row(0.0, -0.21), row(math.nan)]),
        # θ₁ = 0 and θ₂ = acos(2/3) puts the tip at 0.6 (1 + 2/3) = 1 m exactly
        (
            "inverted_double_pendulum",
            [row(0.0, 0.0, math.sqrt(1 - 0.67**2), 1.0, 0.67)],
            [row(0.0, 0.0, math.sqrt(1 - 0.66**2), 1.0, 0.66), row(0.0, 0.0, 0.0, -1.0, 1.0)],
        ),
        ("cartpole", [row(2.4), row(-2.4, 0.0, 0.2094)], [row(2.41), row(0.0, 0.0, 0.2095), row(0.0, 0.0, -0.2095)]),
        ("mountain_car_continuous", [row(0.44), row(0.5, -0.01)], [row(0.45), row(0.6, 0.07)]),
        ("never", [row(math.nan), row(1e9)], []),
    ],
)
def test_edges(name: str, healthy: list[torch.Tensor], done: list[torch.Tensor]) -> None:
    function = getattr(terminations, name)
    for state in healthy:
        assert not function(state, state, state), state
    for state in done:
        assert function(state, state, state), state


def test_an_off_circle_double_pendulum_has_the_height_of_its_angles() -> None:
    scaled = row(0.0, 0.0, 3 * math.sqrt(1 - 0.67**2), 5.0, 3 * 0.67)
    assert not terminations.inverted_double_pendulum(scaled, scaled, scaled)


@pytest.mark.parametrize("name", ["hopper", "walker2d", "ant", "humanoid", "inverted_pendulum", "cartpole", "never"])
def test_any_leading_dims(name: str) -> None:
    obs = torch.randn(2, 3, 5, 11, generator=torch.Generator().manual_seed(0))
    out = getattr(terminations, name)(obs, obs, obs)
    assert out.shape == (2, 3, 5)
    assert out.dtype is torch.bool
    assert torch.equal(out.flatten(), getattr(terminations, name)(*[obs.reshape(-1, 11)] * 3))


@pytest.mark.check("ravl-9.6")
@pytest.mark.parametrize(
    ("place", "value", "done"),
    [
        (0, 0.69, True),
        (0, 0.71, False),
        (1, 0.21, True),
        (1, -0.21, True),
        (1, 0.19, False),
        (5, -150.0, True),
        (7, math.nan, True),
    ],
)
def test_hopper_at_its_published_edges(place: int, value: float, done: bool) -> None:
    healthy = row(1.2)
    reached = healthy.clone()
    reached[0, place] = value
    assert bool(terminations.hopper(healthy, healthy, reached)) == done
