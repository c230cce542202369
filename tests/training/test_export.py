"""Sparse models and policies as source code that says the same."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mbrl.cli import main
from mbrl.data import make_generator
from mbrl.envs import make_task
from mbrl.errors import DataError
from mbrl.models import SINDy
from mbrl.networks import Library
from mbrl.planners import FixedPolicy
from mbrl.policies import SAC, SparsePolicy
from mbrl.training.commands.export import model_code, policy_code
from tests.models.linear_task import TASK, linear_rows
from tests.training.toy import data, trainer

WAVY = [Library(2), Library(0, bias=False, frequencies=2, period=3.0, inputs=[0])]


def model() -> SINDy:
    made = SINDy(members=3, library=WAVY)
    made.build(TASK)
    made.refit(linear_rows(300), make_generator("cpu", 0))
    return made


def policy() -> SparsePolicy:
    made = SparsePolicy(WAVY)
    made.build(make_task("Pendulum-v1"))
    obs = torch.randn(200, 3, generator=make_generator("cpu", 1))
    made.fit(obs, torch.tanh(obs[:, :1] - 0.4 * obs[:, 1:2] * obs[:, 2:]), 1e-3, 1e-6)
    return made


def expected(made: SINDy) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows = linear_rows(20, seed=5).map(lambda x: x.double() if x.is_floating_point() else x)
    said = made.predict(rows.obs, rows.action)
    coefficients = said.mean.mean(0)
    assert made.reward_map is not None
    inputs = torch.cat((rows.obs, rows.action), 1)
    reward = made.reward_map(inputs).mean(0)[:, 0]
    return rows.obs.numpy(), rows.action.numpy(), coefficients.numpy(), reward.numpy()


def test_python_says_the_same() -> None:
    made, names = model(), {}
    exec(model_code(made, "python"), names)  # type: ignore[arg-type]
    obs, action, after, reward = expected(made)
    step: Any = names["step"]
    earned: Any = names["reward"]
    np.testing.assert_allclose([step(x, u) for x, u in zip(obs, action, strict=True)], after, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose([earned(x, u)[0] for x, u in zip(obs, action, strict=True)], reward, rtol=1e-12, atol=1e-12)
    acts, found = policy(), {}
    exec(policy_code(acts, "python"), found)  # type: ignore[arg-type]
    said = [found["policy"](x) for x in obs]  # type: ignore[operator]
    np.testing.assert_allclose(said, 2 * acts.mode(torch.from_numpy(obs)).numpy(), rtol=1e-12, atol=1e-12)  # ±2 N m


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_c_says_the_same(tmp_path: Path) -> None:
    made, acts = model(), policy()
    numbers = ctypes.POINTER(ctypes.c_double)
    libraries = []
    for name, code in (("model", model_code(made, "c")), ("policy", policy_code(acts, "c"))):
        (tmp_path / f"{name}.c").write_text(code)
        shared = tmp_path / f"{name}.so"
        flags = ["-std=c99", "-Wall", "-Werror", "-shared", "-fPIC"]
        command = ["cc", *flags, str(tmp_path / f"{name}.c"), "-o", str(shared), "-lm"]
        subprocess.run(command, check=True)
        libraries.append(ctypes.CDLL(str(shared)))

    def call(function: Any, size: int, *given: np.ndarray) -> np.ndarray:
        out = np.zeros(size)
        function(*(np.ascontiguousarray(each).ctypes.data_as(numbers) for each in given), out.ctypes.data_as(numbers))
        return out

    obs, action, after, reward = expected(made)
    for x, u, next_obs, r in zip(obs, action, after, reward, strict=True):
        np.testing.assert_allclose(call(libraries[0].step, 3, x, u), next_obs, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(call(libraries[0].reward, 1, x, u), [r], rtol=1e-12, atol=1e-12)
        said = acts.mode(torch.from_numpy(x)).numpy() * 2
        np.testing.assert_allclose(call(libraries[1].policy, 1, x), said, rtol=1e-12, atol=1e-12)


def test_a_run_is_exported_and_others_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path / "sparse").fit(FixedPolicy(policy()), data(1))
    assert main(["export", str(tmp_path / "sparse"), "--to", "c", "--output", str(tmp_path / "policy.c")]) == 0
    assert "void policy(const double *x, double *u)" in (tmp_path / "policy.c").read_text()
    assert main(["export", str(tmp_path / "sparse"), "--output", str(tmp_path / "by_name.c")]) == 0
    assert (tmp_path / "by_name.c").read_bytes() == (tmp_path / "policy.c").read_bytes()
    assert main(["export", str(tmp_path / "sparse"), "--to", "c", "--output", str(tmp_path / "policy.pt2")]) == 2
    assert "mbrl export --to c: expected a file named *.c, got --output" in capsys.readouterr().err
    trainer(tmp_path / "network").fit(FixedPolicy(SAC(hidden=[4])), data(1))
    assert main(["export", str(tmp_path / "network"), "--to", "python", "--output", str(tmp_path / "no.py")]) == 2
    assert "expected a run with a SINDy model or a SparsePolicy, got FixedPolicy with neither" in capsys.readouterr().err


def test_nothing_in_a_file_becomes_code() -> None:
    made = policy()
    made.task = replace(made.built_task, env_id='x"""\nimport os\n*/')
    names: dict[str, Any] = {}
    exec(policy_code(made, "python"), names)
    assert "os" not in names and "*/ v" not in policy_code(made, "c").replace("*/\nvoid", "")
    made.map.coefficients[0, 0] = torch.nan
    with pytest.raises(DataError, match="expected finite coefficients to write as code, got NaN or infinity; fit the model"):
        policy_code(made, "c")
