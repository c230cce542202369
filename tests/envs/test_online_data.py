"""The online DataModule with a real Trainer: position, resume, evaluation requests."""

from __future__ import annotations

import gymnasium
import pytest
import pytorch_lightning as pl
import torch
from gymnasium.vector import AutoresetMode

from mbrl.data import make_generator
from mbrl.envs import EvaluationRequest, HandedOverExperience, OnlineData, VectorExperience
from mbrl.errors import CheckpointError, ConfigError, NotBuiltError, TaskError
from mbrl.spec import from_spec


class Toy(pl.LightningModule):
    """Takes one step a tick and trains a number."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.env_steps = 0
        self.ticks: list[int] = []
        self.seen: list[torch.Tensor] = []
        self.requests: list[EvaluationRequest] = []

    def training_step(self, batch, batch_idx) -> None:
        experience = self.trainer.datamodule.experience
        action = torch.rand(experience.num_envs, 1, generator=make_generator("cpu", "toy", batch)) * 2 - 1
        rows = experience.step(action)
        self.ticks.append(batch)
        self.seen.append(rows.next_obs)
        self.env_steps += experience.num_envs
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward((self.weight - 1).square().sum())
        optimizer.step()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def validation_step(self, batch, batch_idx) -> None:
        self.requests.append(batch)

    def test_step(self, batch, batch_idx) -> None:
        self.requests.append(batch)


class SaveAt(pl.Callback):
    def __init__(self, tick: int, path) -> None:
        self.tick, self.path = tick, path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if batch == self.tick:
            trainer.save_checkpoint(self.path)


def data(**kwargs) -> OnlineData:
    return OnlineData("InvertedPendulum-v5", **{"steps": 40, "num_envs": 2, "seed": 3, **kwargs})


def trainer(*callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("tick", [0, 6, 18, 19])
def test_a_run_saved_at_any_tick_goes_on_at_the_next(tick: int, tmp_path) -> None:
    path = tmp_path / "at.ckpt"
    whole, resumed = Toy(), Toy()
    trainer(SaveAt(tick, path)).fit(whole, datamodule=data())
    assert whole.ticks == list(range(20))
    assert whole.env_steps == 40
    trainer().fit(resumed, datamodule=data(), ckpt_path=path, weights_only=True)
    assert resumed.ticks == list(range(tick + 1, 20))
    for kept, again in zip(whole.seen[tick + 1 :], resumed.seen, strict=True):
        assert torch.equal(kept, again)
    assert torch.equal(whole.weight, resumed.weight)


def test_one_object_can_be_fitted_twice() -> None:
    toy, online = Toy(), data()
    trainer().fit(toy, datamodule=online)
    first = toy.seen
    toy.seen = []
    trainer().fit(toy, datamodule=online)
    assert toy.ticks == list(range(20)) * 2
    assert torch.equal(torch.stack(first), torch.stack(toy.seen))


def test_evaluation_and_test_have_environments_and_seeds_of_their_own(tmp_path) -> None:
    toy, online = Toy(), data(test_episodes=12)
    fitting = trainer(SaveAt(19, tmp_path / "end.ckpt"))
    fitting.fit(toy, datamodule=online)
    (request,) = toy.requests
    assert (request.episodes, request.experience.num_envs) == (5, 5)
    assert request.seed == online.evaluation_request(40).seed  # at the planner's clock
    assert online.evaluation_request(0).seed != request.seed
    fitting.test(toy, datamodule=online, verbose=False)
    fresh = Toy()
    fresh_data = data(test_episodes=12)
    trainer().test(fresh, datamodule=fresh_data, ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=True)
    assert toy.requests[1].seed == fresh.requests[0].seed != request.seed
    assert (fresh.requests[0].episodes, fresh.requests[0].experience.num_envs) == (12, 10)
    with pytest.raises(NotBuiltError, match=r'OnlineData.experience was used before setup\("fit"\)'):
        _ = fresh_data.experience


def test_an_evaluation_moves_no_training_stream() -> None:
    plain, evaluated = data(), data()
    for online in (plain, evaluated):
        online.setup("fit")
    request = evaluated.evaluation_request(0)
    request.experience.reset(request.seed)
    for _ in range(20):
        request.experience.step(torch.zeros(5, 1))
        for online in (plain, evaluated):
            online.experience.step(torch.full((2, 1), 0.3))
    assert torch.equal(plain.experience.obs, evaluated.experience.obs)
    again = evaluated.evaluation_request(0)
    assert (again.seed, again.experience) == (request.seed, request.experience)
    for online in (plain, evaluated):
        online.teardown("fit")


def test_the_state_is_tensors_and_plain_data_and_may_come_before_setup(tmp_path) -> None:
    online = data()
    online.setup("fit")
    for _ in range(3):
        online.experience.step(torch.full((2, 1), 0.3))
    torch.save(online.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    early = data()
    early.load_state_dict(state)
    assert early.state_dict() == state
    early.setup("fit")
    assert torch.equal(early.experience.obs, online.experience.obs)
    other = data(num_envs=1)
    other.setup("fit")
    with pytest.raises(CheckpointError, match="expected the state of 1 environments"):
        other.load_state_dict(state)
    for made in (online, early, other):
        made.teardown("fit")


def test_the_position_is_the_loaders() -> None:
    loader = data().train_dataloader()
    assert len(loader) == 20
    ticks = iter(loader)
    assert [next(ticks) for _ in range(3)] == [0, 1, 2]
    other = data().train_dataloader()
    other.load_state_dict(loader.state_dict())
    assert list(other) == list(range(3, 20))


def test_the_spec_makes_it_again() -> None:
    online = data(env_kwargs={"reset_noise_scale": 0.1}, reward="learned", resume="next_episode")
    again = from_spec(online.spec)
    assert isinstance(again, OnlineData)
    assert again.spec == online.spec
    assert again.task == online.task
    assert again.task.known_reward is None


def test_seeds_change_the_run() -> None:
    starts = []
    for seed in (0, 1, 0):
        online = data(seed=seed)
        online.setup("fit")
        starts.append(online.experience.obs)
        online.teardown("fit")
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0], starts[1])


def test_a_function_that_disagrees_stops_before_training() -> None:
    online = data(terminated="mbrl.envs.terminations.never")
    with pytest.raises(TaskError, match=r"never to agree with the environment"):
        online.setup("fit")
    with pytest.raises(NotBuiltError):
        _ = online.experience


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_environment_can_be_handed_over(mode: AutoresetMode) -> None:
    vector = gymnasium.make_vec("InvertedPendulum-v5", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    online = data(resume="next_episode").hand_over(vector)
    online.setup("fit")
    assert isinstance(online.experience, HandedOverExperience)
    total = sum(len(online.experience.step(torch.ones(2, 1))) for _ in range(30))
    assert (total == 60) == (mode is not AutoresetMode.NEXT_STEP)
    assert isinstance(online.evaluation_request(0).experience, VectorExperience)
    with pytest.raises(ConfigError, match=r"expected hand_over before fit, got it during training"):
        online.hand_over(vector)
    online.teardown("fit")
    with pytest.raises(ConfigError, match=r"expected a vector environment of num_envs=4, got one of 2"):
        data(num_envs=4).hand_over(vector)
    with pytest.raises(ConfigError, match=r"expected resume='next_episode' .* got 'exact'"):
        data().hand_over(vector)  # else a run would end at its first checkpoint


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"steps": 41}, r"expected steps to be a multiple of num_envs, got 41 and 2"),
        ({"steps": 0}, r"OnlineData\(steps=…\): expected a whole number of at least 1, got 0"),
        ({"steps": 1.5}, r"OnlineData\(steps=…\): expected a whole number of at least 1, got 1.5"),
        ({"num_envs": 0}, r"OnlineData\(num_envs=…\): expected a whole number"),
        ({"eval_episodes": 0}, r"OnlineData\(eval_episodes=…\): expected a whole number"),
        ({"test_episodes": True}, r"OnlineData\(test_episodes=…\): expected a whole number"),
        ({"resume": "maybe"}, r"OnlineData\(resume=…\): expected one of exact, next_episode, got 'maybe'"),
    ],
)
def test_bad_settings_have_their_sentences(kwargs: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        data(**kwargs)
