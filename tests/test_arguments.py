"""Arguments are declared once: what a signature says is what a constructor refuses, in one sentence."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch
import yaml

import mbrl
from mbrl.analysis import LiveModelReport
from mbrl.arguments import (
    Count,
    Items,
    Limits,
    Natural,
    Positive,
    Range,
    check_argument,
    check_known,
    check_shape,
    check_whole,
    checked,
    declarations,
)
from mbrl.cli import main
from mbrl.envs import OfflineData, OnlineData, make_env, make_task
from mbrl.errors import ConfigError, DataError, MbrlError, ShapeError, TaskError
from mbrl.models import GaussianEnsemble, LinearQuadratic, NextObsNetwork, Pendulum, SimulatorModel
from mbrl.planners import (
    CEM,
    ICEM,
    MPPI,
    PETS,
    UPMPC,
    BatchPenalty,
    Dyna,
    GradientShooting,
    HaltUnfamiliar,
    RandomShooting,
    UncertaintyBonus,
    UncertaintyPenalty,
)
from mbrl.policies import SAC, SequenceSAC
from mbrl.spec import Configurable, from_spec
from mbrl.testing import LinearModel
from mbrl.training import Trainer
from mbrl.uncertainty import LeaveOneOutKL, MaxAleatoric, MeanDisagreement, ValueSpread

if TYPE_CHECKING:
    from tests.training.toy import ToyPlanner as OnlyForTypeCheckers

NAN, INF = float("nan"), float("inf")
MATRIX = [[1.0, 0.0], [0.0, 1.0]]


# what each constructor can't do without ---------------------------------------------------------------------------------

REQUIRED: dict[str, dict[str, Any]] = {
    "dynamics": {"dynamics": LinearModel()},
    "first": {"first": LinearModel()},
    "second": {"second": LinearModel()},
    "learner": {"learner": SAC()},
    "optimizer": {"optimizer": ICEM()},
    "policy": {"policy": SAC()},
    "low": {"low": [0.0]},
    "high": {"high": [1.0]},
    "pairs": {"pairs": [[0, 1]]},
    "measure": {"measure": MeanDisagreement()},
    "weight": {"weight": 1.0},
    "rate": {"rate": 1.0},
    "env_id": {"env_id": "Pendulum-v1"},
    "steps": {"steps": 10},
    "path": {"path": "rows.npz"},
    "state_matrix": {"state_matrix": MATRIX},
    "action_matrix": {"action_matrix": MATRIX},
}
OF_KIND: dict[str, dict[str, Any]] = {"SRL": {"dynamics": NextObsNetwork(), "learner": SequenceSAC()}}
INSIDE = {"PenaltyWeight"}  # made by the parts that have its arguments


def kinds() -> Iterator[Any]:
    """Every configurable class of the library that can be made, and the Trainer."""
    for module in pkgutil.walk_packages(mbrl.__path__, "mbrl."):
        importlib.import_module(module.name)
    found, open_ends = set(), [Configurable]
    while open_ends:
        below = open_ends.pop().__subclasses__()
        open_ends += below
        found |= {kind for kind in below if kind.__module__.startswith("mbrl.") and not kind.__name__.startswith("_")}
    yield from sorted((kind for kind in found if not inspect.isabstract(kind)), key=lambda kind: kind.__name__)
    yield Trainer


def needed(kind: Any) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    names = [
        one.name for one in parameters if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return {name: REQUIRED[name][name] for name in names} | OF_KIND.get(kind.__name__, {})


def declared_by(kind: Any) -> dict[str, Any]:
    """What a constructor declares, and those that its keywords are passed on to."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__init__" in vars(base):
            if not base.__module__.startswith("mbrl."):
                break
            found = {**declarations(base.__init__), **found}
            if all(one.kind is not one.VAR_KEYWORD for one in inspect.signature(base.__init__).parameters.values()):
                break
    return found


def wrong(declared: Any) -> list[Any]:
    """Values just beyond what an annotation declares."""
    kind, parts = get_origin(declared) or declared, get_args(declared)
    if kind is Annotated:
        return [*wrong(parts[0]), *(value for mark in parts[1:] for value in beyond(mark, parts[0]))]
    if kind in (Union, UnionType):
        several = [value for part in parts for value in wrong(part)]
        return [value for value in several if not any(fits(value, part) for part in parts)]
    if kind is Literal:
        return ["no such choice", True] if True not in parts else ["no such choice"]
    if kind is Sequence:
        return [3, "ab", *([value] for value in wrong(parts[0]))]
    return {
        bool: ["no", 1, None],
        int: [2.5, True, NAN, "3", 2.0],
        float: [NAN, INF, -INF, True, "0.5"],
        str: [3, True],
        NoneType: [],
    }.get(kind, [])


def beyond(mark: Limits | Items, base: Any) -> list[Any]:
    if isinstance(mark, Items):
        return [[]]
    step = 1 if base is int else 1e-3
    found = [mark.least - step] if mark.least is not None else []
    found += [mark.most + step] if mark.most is not None else []
    return [*found, *(end for end in (mark.above, mark.below) if end is not None)]


def fits(value: Any, declared: Any) -> bool:
    try:
        check_argument("x", value, declared)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_whatever_a_signature_declares_is_refused_beyond_it(kind: Any, tmp_path: Path) -> None:
    if kind.__name__ in INSIDE:
        return
    good = needed(kind)
    kind(**good)
    for name, declared in declared_by(kind).items():
        for value in wrong(declared):
            with pytest.raises(ConfigError) as refused:
                kind(**{**good, name: value})
            assert f"{kind.__name__}({name}=…): expected " in str(refused.value), (name, value)
            assert ", got " in str(refused.value)


# one by one -------------------------------------------------------------------------------------------------------------

CASES: list[tuple[Any, dict[str, Any], str]] = [
    (GaussianEnsemble, {"members": 2.5}, "a whole number of at least 1, got 2.5"),
    (GaussianEnsemble, {"members": True}, "a whole number of at least 1, got True"),
    (GaussianEnsemble, {"members": 0}, "a whole number of at least 1, got 0"),
    (GaussianEnsemble, {"elites": 0}, "a whole number of at least 1, or None, got 0"),
    (GaussianEnsemble, {"elites": 2.5}, "a whole number of at least 1, or None, got 2.5"),
    (GaussianEnsemble, {"batch_size": 2.5}, "a whole number of at least 1, got 2.5"),
    (GaussianEnsemble, {"threshold": -5}, "a finite number of at least 0, got -5"),
    (GaussianEnsemble, {"threshold": NAN}, "a finite number of at least 0, got nan"),
    (GaussianEnsemble, {"bound_penalty": -1}, "a finite number of at least 0, got -1"),
    (GaussianEnsemble, {"bound_penalty": NAN}, "a finite number of at least 0, got nan"),
    (GaussianEnsemble, {"deterministic": "no"}, "true or false, got 'no'"),
    (GaussianEnsemble, {"deterministic": 1}, "true or false, got 1"),
    (GaussianEnsemble, {"hidden": []}, "a list of at least 1, each a whole number of at least 1, got []"),
    (GaussianEnsemble, {"hidden": [64, 0]}, "a list of at least 1, each a whole number of at least 1, got [64, 0]"),
    (GaussianEnsemble, {"hidden": 64}, "a list of at least 1, each a whole number of at least 1, got 64"),
    (GaussianEnsemble, {"activation": "sine"}, "one of silu, relu, elu, tanh, gelu, softplus, groupsort, got 'sine'"),
    (GaussianEnsemble, {"learn_reward": "yes"}, "auto, or true or false, got 'yes'"),
    (GaussianEnsemble, {"bounds": None}, "one of learned, frozen, got None"),
    (GaussianEnsemble, {"log_var_min": -INF}, "a finite number, got -inf"),
    (
        GaussianEnsemble,
        {"weight_decay": -1e-5},
        "a finite number of at least 0, or a list, each a finite number of at least 0, or None",
    ),
    (GaussianEnsemble, {"normalizer_ddof": True}, "one of 0, 1, got True"),
    (GaussianEnsemble, {"normalizer_ddof": 1.0}, "one of 0, 1, got 1.0"),
    (GaussianEnsemble, {"lr": 0.0}, "a finite number above 0, got 0.0"),
    (GaussianEnsemble, {"lr": INF}, "a finite number above 0, got inf"),
    (GaussianEnsemble, {"lr": "1e-3"}, "a finite number above 0, got '1e-3'"),
    (GaussianEnsemble, {"holdout": 1.0}, "a number of at least 0 and below 1, got 1.0"),
    (GaussianEnsemble, {"holdout": NAN}, "a number of at least 0 and below 1, got nan"),
    (GaussianEnsemble, {"patience": 1.5}, "a whole number of at least 1, got 1.5"),
    (GaussianEnsemble, {"max_epochs": INF}, "a whole number of at least 1, or None, got inf"),
    (GaussianEnsemble, {"chunk_rows": 400.0}, "a whole number of at least 1, got 400.0"),
    (GaussianEnsemble, {"precision": "fp16"}, "one of fp32, bf16, got 'fp16'"),
    (SAC, {"critics": 2.5}, "a whole number of at least 1, got 2.5"),
    (SAC, {"hidden": []}, "a list of at least 1, each a whole number of at least 1, got []"),
    (SAC, {"hidden": [256.0]}, "a list of at least 1, each a whole number of at least 1, got [256.0]"),
    (SAC, {"precision": "fp16"}, "one of fp32, bf16, got 'fp16'"),
    (SAC, {"target_every": 1.5}, "a whole number of at least 1, got 1.5"),
    (SAC, {"entropy_target": NAN}, "a finite number, or auto, got nan"),
    (SAC, {"entropy_target": "-3"}, "a finite number, or auto, got '-3'"),
    (SAC, {"critic_lr": INF}, "a finite number above 0, got inf"),
    (SAC, {"actor_lr": -1e-3}, "a finite number above 0, got -0.001"),
    (SAC, {"temperature": NAN}, "a finite number of at least 0, or learned, got nan"),
    (SAC, {"temperature": True}, "a finite number of at least 0, or learned, got True"),
    (SAC, {"discount": 1.0}, "a number of at least 0 and below 1, got 1.0"),
    (SAC, {"target_rate": 0.0}, "a number above 0 and at most 1, got 0.0"),
    (SAC, {"initial_temperature": NAN}, "a finite number above 0, got nan"),
    (SAC, {"log_sigma": "soft"}, "one of clip, tanh, got 'soft'"),
    (SAC, {"log_sigma_range": [2.0, -20.0]}, "a list of 2, rising, each a finite number, got [2.0, -20.0]"),
    (SAC, {"log_sigma_range": [-20.0]}, "a list of 2, rising, each a finite number, got [-20.0]"),
    (Dyna, {"warmup_steps": 0}, "a whole number of at least 1, got 0"),
    (Dyna, {"updates_per_step": -1}, "a whole number of at least 0, or a list, each a whole number, got -1"),
    (Dyna, {"real_ratio": 1.5}, "a number from 0 to 1, or a list, each a finite number, got 1.5"),
    (Dyna, {"real_ratio": NAN}, "a number from 0 to 1, or a list, each a finite number, got nan"),
    (Dyna, {"warmup": "random"}, "one of uniform, policy, got 'random'"),
    (Dyna, {"rollout_length": "20"}, "a list, each a whole number, or auto, or a TrustedLength, got '20'"),
    (Dyna, {"dynamics": "GaussianEnsemble"}, "a DynamicsModel, or None, got 'GaussianEnsemble'"),
    (Dyna, {"rollout_hooks": [3]}, "a list, each a RolloutHook, got [3]"),
    (PETS, {"horizon": 2.5}, "a whole number of at least 1, got 2.5"),
    (PETS, {"particles": 0}, "a whole number of at least 1, or None, got 0"),
    (PETS, {"discount": 0}, "a number above 0 and at most 1, got 0"),
    (PETS, {"uncertainty_rate": NAN}, "a finite number, got nan"),
    (PETS, {"uncertainty": 0.5}, "an UncertaintyMeasure, or None, got 0.5"),
    (PETS, {"terminal_value": "max"}, "one of mean, min, or None, got 'max'"),
    (CEM, {"momentum": 1.0}, "a number of at least 0 and below 1, got 1.0"),
    (CEM, {"iterations": 2.0}, "a whole number of at least 1, got 2.0"),
    (ICEM, {"decay": 0.9}, "a finite number of at least 1, got 0.9"),
    (ICEM, {"kept": 1.5}, "a number from 0 to 1, got 1.5"),
    (MPPI, {"filter_gain": 0.0}, "a number above 0 and at most 1, got 0.0"),
    (MPPI, {"sd_bounds": [0.1]}, "a list of 2, each a finite number above 0, or None, got [0.1]"),
    (GradientShooting, {"updates": 0}, "a whole number of at least 1, got 0"),
    (RandomShooting, {"candidates": "many"}, "a whole number of at least 1, got 'many'"),
    (UPMPC, {"rate": NAN}, "a finite number, got nan"),
    (UPMPC, {"normalize": 0}, "true or false, got 0"),
    (HaltUnfamiliar, {"pessimism": 0.0}, "a finite number above 0, got 0.0"),
    (HaltUnfamiliar, {"cost": -1.0}, "a finite number of at least 0, or None, got -1.0"),
    (UncertaintyPenalty, {"weight": -1.0}, "a finite number of at least 0, got -1.0"),
    (UncertaintyBonus, {"target": 0.0}, "a finite number above 0, or None, got 0.0"),
    (BatchPenalty, {"weight_lr": NAN}, "a finite number above 0, got nan"),
    (MeanDisagreement, {"reward": "yes"}, "true or false, or auto, got 'yes'"),
    (MaxAleatoric, {"scale": [1.0, 0.0]}, "a list, each a finite number above 0, or None, got [1.0, 0.0]"),
    (LeaveOneOutKL, {"of": "max"}, "one of drawn, mean, got 'max'"),
    (ValueSpread, {"samples": 1.5}, "a whole number of at least 1, got 1.5"),
    (Pendulum, {"dt": NAN}, "a finite number above 0, got nan"),
    (LinearQuadratic, {"state_cost": [[NAN, 0.0], [0.0, 1.0]]}, "a list, each a list, each a finite number, or None"),
    (SimulatorModel, {"threads": 1.5}, "a whole number of at least 1, or None, got 1.5"),
    (OnlineData, {"num_envs": 1.5}, "a whole number of at least 1, got 1.5"),
    (OnlineData, {"action_repeat": 0}, "a whole number of at least 1, got 0"),
    (OnlineData, {"resume": "never"}, "one of exact, next_episode, got 'never'"),
    (OnlineData, {"env_id": 3}, "text, got 3"),
    (OfflineData, {"rows": 0}, "a whole number of at least 1, or None, got 0"),
    (OfflineData, {"clip_actions": "no"}, "true or false, got 'no'"),
    (LiveModelReport, {"every": 10.0}, "a whole number of at least 1, got 10.0"),
    (Trainer, {"eval_every": 1.5}, "a whole number of at least 1, got 1.5"),
    (Trainer, {"stop_at": NAN}, "a finite number, or None, got nan"),
    (Trainer, {"stop_count": True}, "a whole number of at least 1, got True"),
    (Trainer, {"checkpoint_min_ratio": -1}, "a finite number of at least 0, got -1"),
    (Trainer, {"threads": 0}, "a whole number of at least 1, got 0"),
    (Trainer, {"tensorboard": "no"}, "true or false, got 'no'"),
]


@pytest.mark.parametrize(("kind", "options", "sentence"), CASES)
def test_a_wrong_argument_is_one_sentence(kind: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        kind(**{**needed(kind), **options})
    assert str(refused.value).startswith(f"{kind.__name__}({next(iter(options))}=…): expected {sentence}")


def test_a_spec_and_a_subclass_with_keywords_say_the_same() -> None:
    with pytest.raises(
        ConfigError, match=r"^GaussianEnsemble\(patience=…\): expected a whole number of at least 1, got 0\.$"
    ):
        from_spec({"class_path": "mbrl.models.GaussianEnsemble", "init_args": {"patience": 0}})
    with pytest.raises(ConfigError, match=r"^Steep\(patience=…\): expected a whole number of at least 1, got 0\.$"):
        Steep(patience=0)
    with pytest.raises(ConfigError, match=r"^Steep\(slope=…\): expected a finite number above 0, got 0\.$"):
        Steep(slope=0)
    assert Steep(slope=2).spec["init_args"]["slope"] == 2


class Steep(GaussianEnsemble):
    def __init__(self, slope: Positive = 1.0, **fit: Any) -> None:
        super().__init__(**fit)


class Loose:
    @checked
    def __init__(
        self,
        planner: OnlyForTypeCheckers | None = None,
        bare=None,  # type: ignore[no-untyped-def]
        size: int = None,  # type: ignore[assignment]  # noqa: RUF013
        *names: str,
        **numbers: Natural,
    ) -> None:
        self.size = size


def test_what_is_not_declared_is_not_refused() -> None:
    Loose(3, object())  # type: ignore[arg-type]  # a name for type checkers, and none at all
    assert Loose(size=np.int64(3)).size == 3
    assert Loose().size is None  # a default is its class's own business
    assert Loose(None, None, 3, "a", "b", first=0).size == 3
    for options, sentence in (
        ({"size": None}, None),
        ({"one": -1}, r"Loose\(one=…\): expected a whole number of at least 0"),
    ):
        if sentence is None:
            Loose(**options)
        else:
            with pytest.raises(ConfigError, match=sentence):
                Loose(**options)
    with pytest.raises(ConfigError, match=r"Loose\(names=…\): expected text, got 4"):
        Loose(None, None, 3, "a", 4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Loose: multiple values for argument 'size'; it takes planner, bare, size"):
        Loose(None, None, 3, size=3)  # type: ignore[misc]


def test_check_whole_and_ranges() -> None:
    check_whole("f(x=…)", 3, 0, 3)
    with pytest.raises(ConfigError, match=r"^f\(x=…\): expected a whole number from 0 to 3, got 4\.$"):
        check_whole("f(x=…)", 4, 0, 3)
    check_argument("f(x=…)", (1, 2.5), Range)
    check_argument("f(x=…)", [3, "a"], tuple[Count, str])
    with pytest.raises(ConfigError, match=r"expected a list of 2, rising, each a finite number, got \[2, 2\]"):
        check_argument("f(x=…)", [2, 2], Range)
    with pytest.raises(ConfigError, match="expected a list"):
        check_argument("f(x=…)", [3], tuple[Count, str])


# the command line ---------------------------------------------------------------------------------------------------------

FIT: dict[str, Any] = {
    "model": {"class_path": "mbrl.planners.Dyna", "init_args": {
        "dynamics": {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {}},
        "learner": {"class_path": "mbrl.policies.SAC", "init_args": {}},
    }},
    "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"env_id": "Pendulum-v1", "steps": 20}},
    "trainer": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shape", "came"),
    [
        (torch.zeros(4, 2), (4, 3), "expected shape 4 x 3, got 4 x 2; give one."),
        (torch.zeros(4, 2), ("N", 3), "expected shape N x 3, got 4 x 2; give one."),
        (torch.zeros(3), ("N", 3), "expected shape N x 3, got 3; give one."),
        (torch.zeros(5, 4, 2), ("B", 3), "expected shape B x 3, got 5 x 4 x 2; give one."),
        (torch.zeros(()), ("B", 3), "expected shape B x 3, got a single number; give one."),
        (np.zeros((1, 2, 3)), (2, 3), "expected shape 2 x 3, got 1 x 2 x 3; give one."),
        ([0.0, 1.0], (3,), "expected shape 3, got 2; give one."),
    ],
)
@pytest.mark.parametrize("error", [ShapeError, TaskError])
def test_another_shape_is_refused(value: Any, shape: tuple[int | str, ...], came: str, error: type[MbrlError]) -> None:
    with pytest.raises(error) as caught:
        check_shape("it", value, shape, "give one", error)
    assert str(caught.value) == f"it: {came}"


def test_a_letter_stands_for_any_size_and_b_for_any_leading_dims() -> None:
    for value in (torch.zeros(3), torch.zeros(4, 3), torch.zeros(5, 4, 3), torch.zeros(0, 3)):
        check_shape("it", value, ("B", 3), "")
    check_shape("it", torch.zeros(7, 0, 3), ("N", "H", 3), "")
    check_shape("it", [1.0, 2.0], (2,), "")
    check_shape("it", np.float64(1), (), "")


def test_a_name_that_does_not_exist_is_refused_with_those_that_do() -> None:
    check_known("--x", "one", {"one": 1, "two": 2})
    with pytest.raises(ConfigError) as caught:
        check_known("--x", "tow", {"one": 1, "two": 2})
    assert str(caught.value) == "--x: expected one of one, two, got 'tow'; check the spelling."
    with pytest.raises(DataError):
        check_known("--x", "one", (), DataError)


@pytest.mark.parametrize(
    ("part", "name", "value", "sentence"),
    [
        (
            "dynamics",
            "bound_penalty",
            NAN,
            "GaussianEnsemble(bound_penalty=…): expected a finite number of at least 0, got nan",
        ),
        ("dynamics", "threshold", -5, "GaussianEnsemble(threshold=…): expected a finite number of at least 0, got -5"),
        ("learner", "entropy_target", NAN, "SAC(entropy_target=…): expected a finite number, or auto, got nan."),
        ("learner", "critic_lr", INF, "SAC(critic_lr=…): expected a finite number above 0, got inf."),
        ("learner", "target_every", 0, "SAC(target_every=…): expected a whole number of at least 1, got 0."),
        ("trainer", "stop_at", NAN, "Trainer(stop_at=…): expected a finite number, or None, got nan."),
        ("trainer", "eval_every", 0, "Trainer(eval_every=…): expected a whole number of at least 1, got 0."),
    ],
)
def test_a_file_gets_the_same_sentence(
    part: str, name: str, value: Any, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = yaml.safe_load(yaml.safe_dump(FIT))
    options = written["trainer"] if part == "trainer" else written["model"]["init_args"][part]["init_args"]
    options[name] = value
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(written))
    assert main(["fit", "--config", str(tmp_path / "run.yaml"), "--trainer.folder", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_help_shows_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model.help", "mbrl.models.GaussianEnsemble"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(type: int of at least 1, default: 7)" in said
    assert "(type: float above 0, default: 0.001)" in said
    assert "--model.hidden+ [ITEM,...]" in said  # a list can still be appended to


# wrong parts, and numbers from NumPy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Dyna(SAC(), GaussianEnsemble()), r"^Dyna\(dynamics=…\): expected a Dyn.*, got SAC.*; it fits learner\.$"),
        (lambda: Dyna(GaussianEnsemble, SAC()), r"or None, got <class .*; make one: GaussianEnsemble\(…\)\.$"),
        (lambda: Dyna("mbrl.models.GaussianEnsemble", SAC()), r"^Dyna\(dynamics=…\): expected .* or None, got 'mbrl"),
        (lambda: PETS(None, CEM()), r"^PETS\(dynamics=…\): expected a DynamicsModel, got None"),
        (lambda: Dyna(torch.nn.Linear(1, 1), SAC()), r"^Dyna\(dynamics=…\): expected .*a Configurable, got Linear"),
        (
            lambda: Dyna(LinearModel(), SAC(), rollout_hooks=[MeanDisagreement()]),
            r"^Dyna\(rollout_hooks=…\): expected a list, each a RolloutHook, got \[<.*MeanDisagreement",
        ),
        (
            lambda: Dyna(LinearModel(), SAC(), rollout_hooks=UncertaintyPenalty(MeanDisagreement(), 1.0)),
            r"^Dyna\(rollout_hooks=…\): expected a list, each a RolloutHook, got .*; put it in a list\.$",
        ),
        (
            lambda: Dyna(LinearModel(), SAC(), rollout_hooks=[BatchPenalty(MeanDisagreement(), 1.0)]),
            r"^Dyna\(rollout_hooks=…\): expected a list, each a RolloutHook, got ",
        ),
        (lambda: UncertaintyPenalty(SAC(), 1.0), r"^UncertaintyPenalty\(measure=…\): expected an UncertaintyM.*, got SAC"),
        (lambda: PETS(LinearModel(), MeanDisagreement()), r"^PETS\(optimizer=…\): expected a PlanOptimizer, got "),
    ],
)  # fmt: skip
def test_a_part_in_a_wrong_place_is_refused_by_the_declared_class(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_numbers_from_numpy_are_plain_wherever_they_are_kept(tmp_path: Path) -> None:
    data = OnlineData("Pendulum-v1", steps=np.int64(10), num_envs=np.int32(2), eval_episodes=np.uint8(1))
    sac = (
        SAC(hidden=[np.int64(8)], lr=np.float32(0.5))
        if "lr" in inspect.signature(SAC).parameters
        else SAC(hidden=[np.int64(8)])
    )
    trainer = Trainer(tmp_path, eval_every=np.int64(5), stop_at=np.float32(0.5), progress=np.bool_(False))
    kept = [data.steps, data.num_envs, data.eval_episodes, *sac.hidden, *trainer.settings.values()]
    assert all(type(value) in (int, float, bool, type(None)) for value in kept)
    specs = [*data.spec["init_args"].values(), *sac.spec["init_args"]["hidden"]]
    assert all(type(value) in (int, float, bool, str, type(None)) for value in specs)
    assert data.spec == OnlineData("Pendulum-v1", steps=10, num_envs=2, eval_episodes=1).spec
    assert trainer.settings["stop_at"] == 0.5
    check_argument("it", np.bool_(True), bool)
    with pytest.raises(ConfigError, match=r"OnlineData\(steps=…\): expected a whole number of at least 1, got 2\.5"):
        OnlineData("Pendulum-v1", steps=np.float64(2.5))
    with pytest.raises(ConfigError, match=r"OnlineData\(steps=…\): expected a whole number of at least 1, got True"):
        OnlineData("Pendulum-v1", steps=np.bool_(True))


def test_an_environments_numbers_from_numpy_are_plain_too() -> None:
    task = make_task("Pendulum-v1", {"max_episode_steps": np.int64(30), "g": np.float32(9.5)}, action_repeat=np.int64(2))
    make_env(replace(task, time_limit=np.int64(7))).close()
    assert task.time_limit == 15
    assert type(task.action_repeat) is int
