import json

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from mbrl.cli import main
from mbrl.data import OfflineDataset, TaskFacts, Transitions, write_npz
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import ConfigError, DataError, MbrlWarning, TaskError, UnsupportedError, UntrustedNameError
from mbrl.models import GaussianEnsemble
from mbrl.spec import from_spec


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pendulum.npz"
    collect(make_task("Pendulum-v1"), str(path), steps=450, seed=0)
    return str(path)


@pytest.fixture(scope="module")
def inverted(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "inverted.npz"
    collect(make_task("InvertedPendulum-v5"), str(path), steps=60, seed=0)
    return str(path)


def without_note(path, folder):
    """The same columns in a file that says nothing of the task."""
    with np.load(path) as file:
        np.savez(folder / "bare.npz", **{name: file[name] for name in file.files if name != "task"})
    return str(folder / "bare.npz")


def with_facts(path, folder, **changes):
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    note = {**json.loads(str(columns["task"])), **changes}
    np.savez(folder / "noted.npz", **{**columns, "task": np.array(json.dumps(note))})
    return str(folder / "noted.npz")


def test_the_task_comes_from_the_note_without_an_environment(pendulum, monkeypatch):
    import gymnasium

    monkeypatch.setattr(gymnasium, "make", lambda *args, **kwargs: pytest.fail("made an environment"))
    data = OfflineData(pendulum)
    assert (data.task.env_id, data.task.obs_size, data.task.action_size) == ("Pendulum-v1", 3, 1)
    assert data.task.action_low == (-2.0,)
    assert data.task.time_limit == 200
    assert data.task.known_reward == "mbrl.envs.rewards.pendulum"
    assert data.task.known_terminated == "mbrl.envs.terminations.never"
    assert len(data.transitions) == 450
    assert data.transitions.obs.dtype == torch.float32


def test_the_task_of_a_named_environment(pendulum, tmp_path):
    bare = without_note(pendulum, tmp_path)
    assert OfflineData(bare, env_id="Pendulum-v1").task == make_task("Pendulum-v1")
    assert OfflineData(pendulum, env_id="Pendulum-v1").task == make_task("Pendulum-v1")
    with pytest.raises(
        ConfigError, match=r"bare.npz: expected the action bounds, .*give env_id, or action_low and action_high"
    ):
        _ = OfflineData(bare).task
    task = OfflineData(bare, action_low=[-2], action_high=[2]).task
    assert (task.env_id, task.known_reward, task.known_terminated) == ("", None, None)
    named = OfflineData(bare, action_low=[-2], action_high=[2], terminated="mbrl.envs.terminations.never").task
    assert named.known_terminated == "mbrl.envs.terminations.never"


def test_reward_and_termination_can_be_left_to_the_model(pendulum):
    task = OfflineData(pendulum, reward="learned", terminated="learned").task
    assert (task.known_reward, task.known_terminated) == (None, None)


def test_a_dataset_of_another_task(pendulum, inverted, tmp_path):
    with pytest.raises(DataError, match="expected a dataset of Hopper-v5, got Pendulum-v1's; leave env_id out"):
        _ = OfflineData(pendulum, env_id="Hopper-v5").task
    with pytest.raises(
        DataError, match="expected observations 4, as InvertedPendulum-v5 has, got 3; check env_id and env_kwargs"
    ):
        _ = OfflineData(without_note(pendulum, tmp_path), env_id="InvertedPendulum-v5").task
    other = with_facts(pendulum, tmp_path, action_high=[3.0])
    with pytest.raises(DataError, match=r"expected upper action bounds \(2.0,\), as Pendulum-v1 has, got \(3.0,\)"):
        _ = OfflineData(other, env_id="Pendulum-v1").task
    with pytest.raises(DataError, match="action_low: expected shape 1, got 2; give one number per action"):
        _ = OfflineData(pendulum, action_low=[-2, -2], action_high=[2, 2]).task


def test_a_known_function_that_disagrees_with_the_rows(pendulum, inverted):
    with pytest.raises(TaskError, match=r"rewards.one to agree .* at step 0 of pendulum.npz .* or set reward: learned"):
        _ = OfflineData(pendulum, reward="mbrl.envs.rewards.one").task
    with pytest.raises(TaskError, match=r"terminations.never to agree .* of inverted.npz .* or set terminated: learned"):
        _ = OfflineData(inverted, terminated="mbrl.envs.terminations.never").task
    assert OfflineData(inverted).task.known_terminated == "mbrl.envs.terminations.inverted_pendulum"


@pytest.mark.parametrize(
    "changes",
    [{"env_id": "some_module:Trap-v0"}, {"env_id": "", "env_kwargs": {"make": {"callable": "some_module.trap"}}}],
)
def test_names_in_a_dataset_run_nothing(pendulum, tmp_path, changes):
    with pytest.raises(UntrustedNameError, match=r"noted.npz: .* imports some_module.* give env_id and env_kwargs yourself"):
        _ = OfflineData(with_facts(pendulum, tmp_path, **changes), reward="learned", terminated="learned").task


def test_a_trusted_module_names_the_datasets_environment(pendulum, tmp_path, monkeypatch, capsys):
    """`--allow` is enough to look at a dataset, and to learn from it, without its id; other modules stay refused."""
    module = "import gymnasium\nfrom gymnasium.envs.classic_control import PendulumEnv\n"
    module += "gymnasium.register('Mine-v0', entry_point=PendulumEnv, max_episode_steps=200)\n"
    (tmp_path / "mine_env.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = with_facts(pendulum, tmp_path, env_id="mine_env:Mine-v0")
    check = ["check", "--dataset", path, "--reward", "learned", "--terminated", "learned"]
    assert main(check) == 2
    assert capsys.readouterr().err.endswith("or mbrl --allow mine_env.\n")
    assert main(["--allow", "mine_env", *check]) == 0
    assert "Environment: mine_env:Mine-v0." in capsys.readouterr().out
    assert main(["--allow", "another", *check]) == 2
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--model", "mbrl.models.GaussianEnsemble", "--model.hidden", "[4]", "--model.members", "1"]
    fit += ["--model.elites", "1", "--data", "mbrl.envs.OfflineData", "--data.path", path, "--trainer.max_epochs", "1"]
    fit += ["--trainer.tensorboard", "false", "--trainer.progress", "false"]
    assert main([*fit, "--name", "refused"]) == 2
    assert main(["--allow", "mine_env", *fit, "--name", "taken"]) == 0


def test_options_that_exclude_each_other(pendulum):
    with pytest.raises(ConfigError, match="expected env_id beside env_kwargs"):
        OfflineData(pendulum, env_kwargs={"g": 1.0})
    with pytest.raises(ConfigError, match="both action_low and action_high, or neither"):
        OfflineData(pendulum, action_low=[-1])
    with pytest.raises(ConfigError, match="env_id or action_low and action_high, got all"):
        OfflineData(pendulum, env_id="Pendulum-v1", action_low=[-1], action_high=[1])
    with pytest.raises(ConfigError, match=r"OfflineData\(rows=…\): expected a whole number of at least 1, or None, got 0"):
        OfflineData(pendulum, rows=0)


def test_env_kwargs_come_from_the_dataset_unless_given(tmp_path):
    task = make_task("Pendulum-v1", {"g": 5.0}, reward="learned")
    collect(task, str(tmp_path / "light.npz"), steps=20)
    assert OfflineData(str(tmp_path / "light.npz"), env_id="Pendulum-v1").task.env_kwargs == {"g": 5.0}
    assert OfflineData(str(tmp_path / "light.npz")).task.known_reward is None
    assert OfflineData(
        str(tmp_path / "light.npz"), env_id="Pendulum-v1", env_kwargs={"g": 3.0}, reward="learned"
    ).task.env_kwargs == {"g": 3.0}


def test_action_repeat_comes_from_the_dataset(tmp_path):
    task = make_task("Pendulum-v1", action_repeat=4)
    collect(task, str(tmp_path / "slow.npz"), steps=60)
    assert OfflineData(str(tmp_path / "slow.npz")).task == task
    assert OfflineData(str(tmp_path / "slow.npz"), env_id="Pendulum-v1").task == task


def test_bounds_other_than_the_datasets_own_are_refused(pendulum):
    message = r"expected no action bounds but its own, \[-2.0\] to \[2.0\], got \[-7\] to \[7\]; leave action_low"
    with pytest.raises(ConfigError, match=message):
        _ = OfflineData(pendulum, action_low=[-7], action_high=[7]).task
    assert OfflineData(pendulum, action_low=[-2], action_high=[2]).task == OfflineData(pendulum).task


def test_first_rows_and_actions_beyond_the_bounds(pendulum, tmp_path):
    assert len(OfflineData(pendulum, rows=100).transitions) == 100
    bare = without_note(pendulum, tmp_path)
    with pytest.raises(DataError, match="clip_actions"):
        _ = OfflineData(bare, action_low=[-0.5], action_high=[0.5], reward="learned").transitions
    clipped = OfflineData(bare, action_low=[-0.5], action_high=[0.5], reward="learned", clip_actions=True)
    assert clipped.transitions.action.abs().max() == 1


def test_spec_makes_the_same_data(pendulum):
    data = OfflineData(pendulum, rows=10, seed=3)
    again = from_spec(data.spec)
    assert again.spec == data.spec
    assert torch.equal(again.transitions.obs, data.transitions.obs)
    assert again.seed == 3


def test_describe(inverted, tmp_path):
    text = " ".join(OfflineData(inverted).describe())
    assert "60 steps in " in text
    assert "Environment: InvertedPendulum-v5." in text
    assert "inverted_pendulum" in text
    with np.load(inverted) as file:
        columns = {name: file[name] for name in file.files if name != "next_obs"}
    np.savez(tmp_path / "short.npz", **columns)
    data = OfflineData(str(tmp_path / "short.npz"))
    with pytest.warns(
        MbrlWarning, match=r"short.npz: 13 rows .* left out, 12 of which ended the task, with rewards that sum to"
    ):
        said = " ".join(data.describe())
    assert "13 rows were left out" in said and "12 of them ended the task" in said


def test_ends_that_a_file_lost_are_not_learned(inverted, tmp_path):
    """Only False labels would be left: a model would learn that nothing ever ends."""
    with np.load(inverted) as file:
        columns = {name: file[name] for name in file.files if name != "next_obs"}
    np.savez(tmp_path / "short.npz", **columns)
    with pytest.raises(
        DataError, match=r"expected steps on which the task ended, .* all 12 ends among them; give a file with"
    ):
        _ = OfflineData(str(tmp_path / "short.npz"), terminated="learned").task


def test_rewards_may_be_left_out_where_they_are_known(pendulum, tmp_path):
    with np.load(pendulum) as file:
        np.savez(tmp_path / "bare.npz", **{name: file[name] for name in file.files if name != "reward"})
    rows, full = OfflineData(str(tmp_path / "bare.npz")).transitions, OfflineData(pendulum).transitions
    torch.testing.assert_close(rows.reward, full.reward, atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError, match=r"bare.npz: expected a column reward, got none; add it, or name a function"):
        _ = OfflineData(str(tmp_path / "bare.npz"), reward="learned").task


# with a Trainer ------------------------------------------------------------------------------------------------------


def trainer(folder, **kwargs):
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **kwargs,
    )


# Lightning 2.6.6: of torch 2.13's pytree in every loop, and of loaders without workers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


def test_a_model_is_fitted_tested_and_asked(pendulum, tmp_path):
    data = OfflineData(pendulum, reward="learned", rows=300, seed=1)
    model = GaussianEnsemble(members=2, elites=None, hidden=[16, 16], batch_size=64)
    fit = trainer(tmp_path, max_epochs=3)
    fit.fit(model, datamodule=data)
    assert fit.global_step == 3 * 4  # 240 of 300 rows in batches of 64
    assert model.task == data.task
    with pytest.warns(MbrlWarning, match="tested on the other 60"):
        metrics = trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert metrics[0]["test/mse"] > 0
    predicted = trainer(tmp_path).predict(model, datamodule=data)
    means = torch.cat([batch["mean"] for batch in predicted], dim=1)
    assert means.shape == (2, 300, 3)
    torch.testing.assert_close(means, model.predict(data.transitions.obs, data.transitions.action).mean)


class Idle(pl.LightningModule):
    def predict_step(self, batch, batch_idx):
        return batch.obs

    def training_step(self, batch, batch_idx):
        raise NotImplementedError

    def validation_step(self, batch, batch_idx):
        raise NotImplementedError

    def configure_optimizers(self):
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_other_modules_may_predict_but_not_train(pendulum, tmp_path):
    data = OfflineData(pendulum)
    batches = trainer(tmp_path).predict(Idle(), datamodule=data)
    assert torch.equal(torch.cat(batches), data.transitions.obs)
    with pytest.raises(UnsupportedError, match="expected a dynamics model or a planner, got Idle"):
        trainer(tmp_path, max_epochs=1).fit(Idle(), datamodule=data)


def test_a_bad_dataset_stops_before_anything_is_made(tmp_path):
    bad = OfflineDataset(
        source="bad",
        obs=np.zeros((20, 3)),
        action=np.zeros((20, 1)),
        reward=np.full(20, np.nan),
        next_obs=np.zeros((20, 3)),
        terminated=np.zeros(20, bool),
        truncated=np.zeros(20, bool),
        episode=np.zeros(20, int),
        facts=TaskFacts((-1.0,), (1.0,)),
    )
    write_npz(tmp_path / "bad.npz", bad)
    model = GaussianEnsemble(members=2, elites=None, hidden=[16])
    with pytest.raises(DataError, match=r"bad.npz: expected finite numbers, got nan as reward of row 0"):
        trainer(tmp_path, max_epochs=1).fit(model, datamodule=OfflineData(str(tmp_path / "bad.npz")))
    assert model.task is None


def test_rows_are_the_librarys_record(pendulum):
    assert isinstance(OfflineData(pendulum).transitions, Transitions)
