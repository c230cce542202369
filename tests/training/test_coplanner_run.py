"""COPlanner as a user runs it: over any MBPO preset, switched off, killed and resumed, refused with a sentence."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mbrl
from mbrl.cli import main
from mbrl.envs import VectorExperience
from mbrl.models import GaussianEnsemble
from mbrl.planners import UPMPC, Dyna, PolicySample, evaluate
from mbrl.policies import SAC
from mbrl.testing import check_planner, linear_task
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint
from mbrl.training.commands.fit import MbrlCLI
from mbrl.training.run_folder import holds_run
from tests.test_metrics_doc import documented, written
from tests.training.test_kill_and_resume import same_run, same_state
from tests.training.toy import KillAt, data, in_child, lines, trainer

# presets ---------------------------------------------------------------------------------------------------------------

OVERLAYS = {"both": (-2.0, 1.0), "rollouts_only": (-2.0, None), "exploration_only": (None, 1.0)}
SIZES = {  # S and A
    "mbpo/ant": (27, 8), "mbpo/halfcheetah": (17, 6), "mbpo/hopper": (11, 3), "mbpo/humanoid": (45, 17),
    "mbpo/inverted_double_pendulum": (9, 1), "mbpo/inverted_pendulum": (4, 1), "mbpo/inverted_pendulum_fast": (4, 1),
    "mbpo/pendulum": (3, 1), "mbpo/walker2d": (17, 6),
    "mbpo_dmc/cartpole_swingup": (5, 1), "mbpo_dmc/cartpole_swingup_sparse": (5, 1), "mbpo_dmc/cheetah_run": (17, 6),
    "mbpo_dmc/cup_catch": (8, 2), "mbpo_dmc/finger_spin": (9, 2), "mbpo_dmc/finger_turn_easy": (12, 2),
    "mbpo_dmc/finger_turn_hard": (12, 2), "mbpo_dmc/fish_swim": (24, 5), "mbpo_dmc/hopper_hop": (15, 4),
    "mbpo_dmc/hopper_stand": (15, 4), "mbpo_dmc/humanoid_walk": (67, 21), "mbpo_dmc/pendulum_swingup": (3, 1),
    "mbpo_dmc/quadruped_run": (78, 12), "mbpo_dmc/quadruped_walk": (78, 12), "mbpo_dmc/reacher_easy": (6, 2),
    "mbpo_dmc/reacher_hard": (6, 2), "mbpo_dmc/walker_run": (24, 6), "mbpo_dmc/walker_stand": (24, 6),
    "mbpo_dmc/walker_walk": (24, 6),
}  # fmt: skip


def files(preset: str, overlay: str | None = None) -> list[str]:
    names = [f"base/{preset.split('/')[0]}", preset, *([] if overlay is None else [f"coplanner/{overlay}"])]
    return [argument for name in names for argument in ("--config", f"configs/{name}.yaml")]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `mbrl fit` would train, parsed and made by the real command, which then stops."""
    made: list[MbrlCLI] = []
    monkeypatch.setattr(MbrlCLI, "fit", lambda self, **arguments: made.append(self))

    def parse(*arguments: str) -> MbrlCLI:
        assert main(["fit", *arguments]) == 0
        return made[-1]

    return parse


def rates(planner: Any) -> tuple[float | None, float | None]:
    """Of the two selectors, None where the policy is sampled."""
    found = [getattr(part, "rate", None) for part in (planner.rollout_selector, planner.explore_selector)]
    return found[0], found[1]


@pytest.mark.parametrize("preset", SIZES)
def test_one_file_separates_a_preset_from_coplanner(preset: str, parsed: Any) -> None:
    cli = parsed(*files(preset, "both"))
    assert (cli.trainer.name, cli.trainer.variant) == (preset.replace("/", "-").replace("_", "-"), "coplanner")
    planner, task = cli.model, cli.datamodule.task
    assert (task.obs_size, task.action_size) == SIZES[preset]
    assert rates(planner) == OVERLAYS["both"]
    for selector in (planner.rollout_selector, planner.explore_selector):
        assert (selector.candidates, selector.horizon) == (5, 5)
        assert (selector.reward_discount, selector.uncertainty_discount) == (0.97, 0.97)
        assert selector.uncertainty is None and not selector.mask_terminations and not selector.normalize
    planner.build(task, 0)  # nothing in the preset contradicts the overlay or the task


def test_every_preset_is_looked_at() -> None:
    """All but those of our own learning comparison, which have overlays of their own sizes."""
    found = {f"{folder}/{path.stem}" for folder in ("mbpo", "mbpo_dmc") for path in Path("configs", folder).glob("*.yaml")}
    ours = {"mbpo/mountain_car", "mbpo/cartpole_swingup", "mbpo/cartpole_swingup_sparse"}
    assert found - ours == set(SIZES)


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_each_half_has_an_overlay_of_its_own(overlay: str | None, parsed: Any) -> None:
    cli = parsed(*files("mbpo/pendulum", overlay))
    assert rates(cli.model) == ((None, None) if overlay is None else OVERLAYS[overlay])
    variant = {None: None, "both": "coplanner"}.get(overlay, str(overlay).replace("_", "-"))
    assert cli.trainer.variant == variant


def test_settings_of_the_control_suite(parsed: Any) -> None:
    """What COPlanner's release sets apart from MBPO's authors."""
    cli = parsed(*files("mbpo_dmc/hopper_stand"))
    planner, model, learner = cli.model, cli.model.dynamics, cli.model.learner
    assert (model.members, model.elites, model.activation, model.bounds) == (7, 7, "relu", "frozen")
    assert (model.lr, model.layer_decay[0], model.decay_form, model.patience, model.stopping) == (
        1e-3,
        1e-5,
        "adam",
        5,
        "mbrl-lib",
    )
    assert (learner.hidden, learner.actor_lr, learner.fixed_temperature) == ((512, 512), 3e-4, None)
    assert (planner.updates_per_step, planner.real_rows, planner.warmup) == (3, 0, "policy")
    assert cli.datamodule.action_repeat == 1 and cli.datamodule.task.known_reward is None
    planner.build(cli.datamodule.task, 0)
    assert learner.entropy_target == -4.0  # −A


SMALL = [
    "--model.init_args.warmup_steps=20", "--model.init_args.refit_every=10", "--model.init_args.rollouts_per_step=2",
    "--model.init_args.updates_per_step=1", "--model.init_args.dynamics.init_args.max_epochs=1",
    "--data.init_args.steps=22", "--data.init_args.eval_episodes=1", "--data.init_args.env_kwargs.max_episode_steps=6",
    "--trainer.progress=false", "--trainer.tensorboard=false",
]  # fmt: skip
SPREADS = {f"{where}/{what}_spread" for where in ("rollout", "explore") for what in ("reward", "uncertainty")}


@pytest.mark.parametrize("preset", ["mbpo/hopper", "mbpo_dmc/walker_run"])
def test_presets_plan(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair, at a small size and side by side: the overlay's run has another folder than the preset's own."""
    arguments = [str(Path(argument).resolve()) if argument.endswith(".yaml") else argument for argument in files(preset)]
    overlay = ["--config", str(Path("configs/coplanner/both.yaml").resolve())]
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *arguments, *SMALL]) == 0
    assert main(["fit", *arguments, *overlay, *SMALL]) == 0
    name = preset.replace("/", "-").replace("_", "-")
    assert not SPREADS & written(tmp_path / "runs" / name / "seed0")
    assert written(tmp_path / "runs" / f"{name}-coplanner" / "seed0") >= SPREADS


# switched off ----------------------------------------------------------------------------------------------------------


def coplanner(rollout: Any = None, explore: Any = None, **options: Any) -> Dyna:
    """Small and complete: fits, rollouts of growing length, updates, a warm-up of the policy."""
    settings: dict[str, Any] = {
        "warmup_steps": 10, "refit_every": 10, "rollouts_per_step": 4, "rollout_length": [0, 2, 1, 2], "epoch_steps": 10,
        "updates_per_step": 1, "batch_size": 16, "real_ratio": 0.25,
    }  # fmt: skip
    ensemble = GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16)
    return Dyna(ensemble, SAC(hidden=[8, 8]), rollout_selector=rollout, explore_selector=explore, **{**settings, **options})


def planned() -> Dyna:
    return coplanner(UPMPC(-2.0, candidates=3, horizon=2), UPMPC(1.0, candidates=3, horizon=2), warmup="policy")


def fit(folder: Path, planner: Dyna, ckpt_path: str | None = None, **options: Any) -> None:
    trainer(folder, **options).fit(planner, data(40, num_envs=2), ckpt_path=ckpt_path)


def kept(folder: Path) -> dict[str, Any]:
    """All that a run ends with."""
    return read_checkpoint(checkpoint_folders(folder)[0], buffers=True)


def differences(a: Path, b: Path) -> list[str]:
    """Of two finished runs, but for how they describe themselves and the wall clock."""
    told = ("mbrl.spec", "mbrl_run", "RunClock.elapsed", ".time/")
    names = same_state(kept(a), kept(b))
    return [name for name in names if not any(part in name for part in told)] + (["metrics"] if lines(a) != lines(b) else [])


@pytest.mark.check("coplanner-32")
@pytest.mark.parametrize("warmup", ["uniform", "policy"])
def test_one_candidate_at_any_rates_and_no_selectors_are_mbpo_bit_for_bit(warmup: str, tmp_path: Path) -> None:
    arms = {
        "plain": (None, None),
        "samples": (PolicySample(), PolicySample()),
        "single": (UPMPC(-2.0, candidates=1), UPMPC(math.pi, candidates=1, horizon=1)),
    }
    for name, (rollout, explore) in arms.items():
        fit(tmp_path / name, coplanner(rollout, explore, warmup=warmup))
    for name in ("samples", "single"):
        assert differences(tmp_path / "plain", tmp_path / name) == []


def test_selectors_draw_from_streams_of_their_own(tmp_path: Path) -> None:
    """While the policy learns nothing, planned rollouts move nothing real, and planned exploration moves no warm-up."""
    arms = {
        "plain": coplanner(updates_per_step=0),
        "rollouts": coplanner(UPMPC(-2.0, candidates=3, horizon=2), updates_per_step=0),
        "explore": coplanner(None, UPMPC(1.0, candidates=3, horizon=2), updates_per_step=0),
    }
    for name, planner in arms.items():
        fit(tmp_path / name, planner)
    real, model = (
        {name: kept(tmp_path / name)["mbrl_buffers"][which]["matrix"] for name in arms} for which in ("real", "model")
    )
    assert torch.equal(real["rollouts"], real["plain"]) and not torch.equal(model["rollouts"], model["plain"])
    assert torch.equal(real["explore"][:10], real["plain"][:10]) and not torch.equal(real["explore"], real["plain"])


def test_it_keeps_the_planners_contract() -> None:
    task = linear_task()

    def make() -> Dyna:
        return coplanner(UPMPC(-2.0, 3, 2), UPMPC(1.0, 3, 2), warmup="policy", warmup_steps=4, refit_every=4)

    check_planner(make, task, lambda: VectorExperience(task, 2, seed=0), ticks=4)


# resumed -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    torch.set_num_threads(1)
    fit(folder, planned())
    return folder


@pytest.mark.parametrize("tick", [6, 16, 34])
def test_killed_and_resumed_equals_unbroken(unbroken: Path, tmp_path: Path, tick: int) -> None:
    """Killed in the warm-up, and while both selectors plan."""
    assert in_child(lambda: fit(tmp_path, planned(), callbacks=[KillAt(tick)])) == -signal.SIGKILL
    fit(tmp_path, planned(), "last")
    assert same_run(unbroken, tmp_path) == []


def test_its_metrics_are_documented(unbroken: Path) -> None:
    names = written(unbroken)
    assert names <= documented("A planner's run")
    assert names >= SPREADS


@pytest.mark.check("coplanner-39")
def test_evaluation_makes_no_planner_call(unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = mbrl.load(unbroken)
    calls: list[str] = []
    monkeypatch.setattr(UPMPC, "select", lambda self, situation: calls.append("planned") or situation.obs[:, :1])
    online = data(40)
    online.setup("test")
    request = next(iter(online.test_dataloader()))
    evaluate(planner, request.experience, request.episodes, request.seed)
    assert calls == []
    obs = torch.zeros(1, 3)
    planner.act(obs, planner.memory(1, torch.Generator()), explore=True)
    assert calls == ["planned"]


# refused ---------------------------------------------------------------------------------------------------------------

EXACT = {"class_path": "mbrl.models.Pendulum"}
ALONE = {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {"members": 1, "elites": 1, "hidden": [8]}}


@pytest.mark.parametrize(
    ("selector", "changes", "message"),
    [
        ("rollout_selector", {"candidates": 0}, "UPMPC(candidates=…): expected a whole number of at least 1, got 0"),
        ("explore_selector", {"rate": math.inf}, "UPMPC(rate=…): expected a finite number, got inf"),
        ("rollout_selector", {"rate": math.nan}, "UPMPC(rate=…): expected a finite number, got nan"),
        ("rollout_selector", {"dynamics": EXACT}, "UPMPC(uncertainty=SampleSpread) can't use Pendulum: it is exact"),
        ("explore_selector", {"dynamics": ALONE}, "UPMPC(uncertainty=SampleSpread) can't use GaussianEnsemble: it needs 2"),
    ],
)
def test_wrong_options_are_refused_from_yaml(
    selector: str, changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {name: value for name, value in changes.items() if name != "dynamics"}
    small = {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {"hidden": [8], "members": 2, "elites": 2}}
    config = {
        "model": {
            "class_path": "mbrl.planners.Dyna",
            "init_args": {
                "dynamics": changes.get("dynamics", small),
                "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8]}},
                selector: {"class_path": "mbrl.planners.UPMPC", "init_args": {"rate": 1.0, **own}},
            },
        },
        "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"env_id": "Pendulum-v1", "steps": 12}},
        "trainer": {"folder": str(tmp_path / "run"), "progress": False, "tensorboard": False},
    }
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(path)]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and len(said.splitlines()) == 1
    assert not holds_run(tmp_path / "run")
