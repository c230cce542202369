"""Policies as files of torch and ONNX that act as evaluations do, without this library."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.cli import main
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import VectorExperience
from mbrl.envs.vector_experience import in_env_units
from mbrl.errors import UnsupportedError
from mbrl.models import NextObsNetwork
from mbrl.models.closed_form import Pendulum
from mbrl.networks import Library
from mbrl.planners import (
    PETS,
    SRL,
    Dyna,
    FixedPolicy,
    ModelRolled,
    OfflineDyna,
    PolicyPlanner,
    RandomShooting,
    evaluate,
)
from mbrl.policies import BC, SAC, SequenceSAC, SparsePolicy
from mbrl.training.products import exported_policy
from mbrl.training.products.exported_policy import RUNNER, onnx_file, torch_file
from mbrl.training.products.policy_runner import ExportedPolicy
from tests.planners.test_decide import Countdown
from tests.training.toy import data, trainer

ODD = Task("", 3, 2, (-500.0, 10.0), (500.0, 30.0))  # no bound is ±1, and one isn't symmetric

ACTS = """
import runpy, sys, io
sys.argv = ["policy_runner.py", "policy.pt2"]
runpy.run_path("policy_runner.py", run_name="__main__")
known = {"mbrl", "gymnasium", "pytorch_lightning"} & {name.split(".")[0] for name in sys.modules}
assert not known, known
"""


class Recurrent(Countdown):
    """A cell that is fed its own actions; it and the split give lists."""

    def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
        before = torch.zeros(obs.shape[0], 1) if prev_action is None else prev_action
        weights = torch.linspace(-1, 1, 9).view(9, 1), torch.linspace(1, -1, 27).view(9, 3)
        state, actions = obs, []
        for _ in range(length):
            state = torch.gru_cell(before, state, *weights)
            before, _ = state.split((1, 2), -1)
            actions.append(torch.tanh(before))
        return torch.stack(actions, 1)


class Recording(VectorExperience):
    """Notes what it showed, and the commands that its environments got."""

    def step(self, action: Tensor) -> Transitions:
        shown = (self.obs.clone(), in_env_units(action.numpy(), self._low, self._high, np.float32))
        self.seen = [*getattr(self, "seen", []), shown]
        return super().step(action)


def exported(planner: PolicyPlanner, folder: Path, every: int | None = None) -> ExportedPolicy:
    path = folder / "policy.pt2"
    path.write_bytes(torch_file(planner))
    return ExportedPolicy(path, every)


def built(planner: PolicyPlanner, task: Task = ODD) -> PolicyPlanner:
    planner.build(task, 3)
    return planner


def observations(n: int) -> Tensor:
    return torch.randn(n, 3, generator=make_generator("cpu", 0)) * torch.tensor([100.0, 1e-3, 1.0])


def test_a_process_without_the_library_acts_as_mbrl_test_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a normaliser of observations, trained for a few updates."""
    run = tmp_path / "run"
    planner = Dyna(None, SAC(hidden=[16], normalize_obs=True), warmup_steps=20, refit_every=20, batch_size=8)
    trainer(run).fit(planner, data(60))
    assert main(["export", str(run)]) == 0
    assert "policy_runner.py" in capsys.readouterr().err
    assert (run / "policy_runner.py").read_bytes() == RUNNER.read_bytes()
    tested = mbrl.load_policy(run)
    experience = Recording(tested.built_task, 2, seed=0)
    evaluate(tested, experience, 2, seed=0)
    experience.close()
    obs, commands = (np.concatenate(part) for part in zip(*experience.seen, strict=True))
    lines = "\n".join(" ".join(map(repr, row)) for row in obs.tolist())
    acted = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", ACTS], cwd=run, input=lines, capture_output=True, text=True, timeout=100
    )
    assert acted.returncode == 0, acted.stderr
    found = np.array([[float(number) for number in line.split()] for line in acted.stdout.splitlines()])
    assert found.shape == commands.shape and np.abs(found - commands).max() < 1e-5
    assert np.abs(commands).max() > 0.01 and commands.std() > 1e-3
    assert str(Path.cwd()).encode() not in (run / "policy.pt2").read_bytes()  # no names of folders


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dyna(None, SAC(hidden=[8, 8], log_sigma="tanh")),
        lambda: OfflineDyna(None, BC(hidden=[8])),
        lambda: FixedPolicy(SparsePolicy(Library(2))),
        lambda: FixedPolicy(SAC(hidden=[8], precision="bf16")),
    ],
    ids=["SAC", "BC", "sparse", "bf16"],
)
def test_any_batch_gets_the_actions_of_predict_in_environment_units(make: Any, tmp_path: Path) -> None:
    planner = built(make())
    if isinstance(planner, FixedPolicy) and isinstance(planner.policy, SparsePolicy):
        obs = observations(200)
        planner.policy.fit(obs, torch.tanh(obs[:, :2] / 100), 1e-3, 1e-6)
    policy = exported(planner, tmp_path)
    assert policy.length == policy.every == 1 and not policy.about["asks_prev_action"]
    for n in (1, 3, 2000):
        policy.reset()
        obs = observations(n)
        np.testing.assert_allclose(policy(obs).numpy(), planner.predict(obs.numpy()), rtol=0, atol=500 * 1e-6)
    one = policy(obs[0].tolist()) if not policy.reset() else None  # type: ignore[func-returns-value]
    assert one is not None and one.shape == (2,) and torch.equal(one, policy(obs[:1])[0])
    assert policy.network(obs).shape == (2000, 2)


def test_a_policy_of_sequences_plays_them_and_knows_the_action_before(tmp_path: Path) -> None:
    task = Task("", 3, 1, (-1.0,), (3.0,))
    planner = built(FixedPolicy(Countdown()), task)
    policy = exported(planner, tmp_path)
    assert policy.length == policy.every == 3 and policy.about["asks_prev_action"]
    memory, obs = planner.memory(2, make_generator("cpu", 0)), torch.zeros(2, 3)
    expected = [planner.decide(obs, memory, 3) * 2 + 1 for _ in range(2)]
    played = torch.stack([policy(obs) for _ in range(6)], 1)
    assert torch.allclose(played, torch.cat(expected, 1), rtol=0, atol=1e-6)
    policy.reset()
    assert torch.equal(policy(obs), played[:, 0])
    each = ExportedPolicy(tmp_path / "policy.pt2", every=1)
    memory = planner.memory(2, make_generator("cpu", 0))
    for _ in range(4):
        assert torch.allclose(each(obs), planner.decide(obs, memory, 1)[:, 0] * 2 + 1, rtol=0, atol=1e-6)
    assert torch.equal(policy.decide(obs, [[1.0], [1.0]]), policy.decide(obs))  # the middle of its range, as at a reset


def test_srl_acts_as_its_evaluations_do(tmp_path: Path) -> None:
    planner = built(SRL(NextObsNetwork(hidden=[4]), SequenceSAC(length=3, hidden=[8, 8])))
    policy, obs = exported(planner, tmp_path), [observations(5) / (1 + step) for step in range(7)]
    memory = planner.memory(5, make_generator("cpu", 0))
    half, middle = torch.tensor([500.0, 10.0]), torch.tensor([0.0, 20.0])
    for rows in obs:  # it looks at each third of them
        action = planner.act(rows, memory, explore=False)[0] * half + middle
        assert torch.allclose(policy(rows), action, rtol=0, atol=500 * 1e-6)


def test_an_action_before_that_only_operations_of_several_results_see_is_asked_for(tmp_path: Path) -> None:
    """A search for what depends on it mustn't end at a list."""
    planner = built(FixedPolicy(Recurrent()), Task("", 3, 1, (-1.0,), (3.0,)))
    policy = exported(planner, tmp_path)
    assert policy.about["asks_prev_action"]
    memory, obs = planner.memory(5, make_generator("cpu", 0)), observations(5)
    expected = torch.cat([planner.decide(obs, memory, 3) * 2 + 1 for _ in range(2)], 1)
    assert torch.allclose(torch.stack([policy(obs) for _ in range(6)], 1), expected, rtol=0, atol=1e-6)


def test_the_runner_refuses_what_it_cant_use(tmp_path: Path) -> None:
    policy = exported(built(FixedPolicy(Countdown()), Task("", 3, 1, (-1.0,), (3.0,))), tmp_path)
    for every in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 to 3, got {every}; a decision has no more"):
            ExportedPolicy(tmp_path / "policy.pt2", every)
    with pytest.raises(ValueError, match=r"expected obs of shape B x 3, got \(1, 2\); reshape it"):
        policy([1.0, 2.0])
    policy(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="expected 2 observations as before, got 1"):
        policy(torch.zeros(1, 3))
    policy.reset()
    whole = [policy(torch.zeros(3)).item() for _ in range(3)]
    policy.reset()
    played = [policy(torch.zeros(3)).item()]
    for wrong in (torch.zeros(2), torch.zeros(3, 3)):  # while it plays, and looks at nothing, too
        with pytest.raises(ValueError, match="expected"):
            policy(wrong)
    with pytest.raises(ValueError, match="expected finite numbers"):
        policy([0.0, float("nan"), 0.0])
    played += [policy(torch.zeros(3)).item() for _ in range(2)]
    assert played == whole
    lines = io.StringIO("0 0 0\n0 0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", lines)
        patch.setattr(sys, "argv", ["policy_runner.py", str(tmp_path / "policy.pt2")])
        with pytest.raises(SystemExit, match=r"line 2: expected obs of shape B x 3, got \(1, 2\)"):
            runpy.run_path(str(RUNNER), run_name="__main__")


def test_the_runner_refuses_what_is_no_policy_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.onnx").touch()
    for given, said in {
        (): "usage: python policy_runner.py policy.pt2",
        (str(tmp_path / "policy.pt2"),): r"expected a \.pt2 file .*policy\.pt2; look",
        (str(tmp_path / "policy.onnx"),): r"expected a \.pt2 file .*policy\.onnx; look",
    }.items():
        monkeypatch.setattr(sys, "argv", ["policy_runner.py", *given])
        with pytest.raises(SystemExit, match=said):
            runpy.run_path(str(RUNNER), run_name="__main__")


def test_exporting_leaves_the_planner_as_it_was() -> None:
    planner = built(Dyna(None, SAC(hidden=[8])))
    planner.train()
    torch_file(planner)
    assert planner.learner.policy.training
    assert all(parameter.requires_grad for parameter in planner.learner.policy.parameters())


def test_onnx_says_the_same(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    planner = built(FixedPolicy(Recurrent()), Task("", 3, 1, (-1.0,), (3.0,)))  # once: an export takes seconds
    session = runtime.InferenceSession(onnx_file(planner))
    assert [one.name for one in session.get_inputs()] == ["obs", "prev_action"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["policy"])["length"] == 3
    for n in (1, 5):
        obs, memory = observations(n), planner.memory(n, make_generator("cpu", 0))
        (found,) = session.run(["action"], {"obs": obs.numpy(), "prev_action": np.ones((n, 1), np.float32)})
        np.testing.assert_allclose(found, planner.decide(obs, memory, 3).numpy() * 2 + 1, rtol=0, atol=1e-5)


@pytest.mark.skipif(find_spec("onnx") is not None, reason="needs an installation without the extra")
def test_onnx_without_its_packages_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"expected the packages onnx and onnxscript, .*mbrl-toolkit\[export\]"):
        onnx_file(built(Dyna(None, SAC(hidden=[8]))))


def test_a_policy_that_cant_be_traced_is_refused() -> None:
    class Branching(Countdown):
        def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
            return super().mode_sequence(obs if obs.sum() > 0 else -obs, prev_action, length)

    with pytest.raises(UnsupportedError, match=r"expected a policy that torch\.export can trace, got Branching"):
        torch_file(built(FixedPolicy(Branching()), Task("", 3, 1, (-1.0,), (3.0,))))


def test_a_planner_that_decides_otherwise_than_its_policy_is_refused() -> None:
    """`ModelRolled` asks a model beside the policy; where its policy decides one step at a time it doesn't."""
    with pytest.raises(UnsupportedError, match="decides as its policy does, got a ModelRolled, which decides otherwise"):
        torch_file(built(ModelRolled(NextObsNetwork(hidden=[4]), SequenceSAC(length=3, hidden=[8, 8]))))
    assert torch_file(built(ModelRolled(NextObsNetwork(hidden=[4]), SAC(hidden=[8]))))


def test_the_command_refuses_what_it_cant_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pets, network = tmp_path / "pets", tmp_path / "network"
    trainer(pets).fit(PETS(Pendulum(), RandomShooting(4), horizon=2, warmup_steps=0), data(1))
    trainer(network).fit(FixedPolicy(SAC(hidden=[4])), data(1))

    def refused(*arguments: str) -> str:
        assert main(["export", *arguments]) == 2
        return capsys.readouterr().err

    assert "expected a run that acts by a policy, got PETS, which has none to act by" in refused(str(pets))
    assert "SparsePolicy, got PETS with neither" in refused(str(pets), "--to", "c")
    there = tmp_path / "policy.pt2"
    there.write_bytes(b"mine")
    assert f"expected a new file, but {there} exists; remove it" in refused(str(network), "--output", str(there))
    link = tmp_path / "link.pt2"
    link.symlink_to(tmp_path / "nowhere")
    assert "expected a new file" in refused(str(network), "--output", str(link))
    (tmp_path / "policy_runner.py").write_text("mine")
    assert "policy_runner.py exists" in refused(str(network), "--output", str(tmp_path / "other.pt2"))
    assert there.read_bytes() == b"mine" and not (tmp_path / "other.pt2").exists()
    assert "expected a name that ends in .pt2, .onnx, .py or .c" in refused(
        str(network), "--output", str(tmp_path / "a.cpp")
    )
    missing = tmp_path / "missing" / "policy.pt2"
    assert "expected a folder" in refused(str(network), "--output", str(missing))
    monkeypatch.setattr(exported_policy, "find_spec", lambda name: None if name == "onnxscript" else object())
    assert "but onnxscript can't be imported" in refused(str(network), "--to", "onnx")
    assert not (network / "policy.onnx").exists()
