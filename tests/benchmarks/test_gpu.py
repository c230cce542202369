"""The GPU benchmark: its rehearsal on the CPU, what parity forgives and what not, and what is left by a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.host_draws import host_draws
from benchmarks.gpu.parity import apart, compared, parity, tolerance
from benchmarks.gpu.parity_cases import WEIGHTS, cases
from benchmarks.gpu.section import LATE, NOT_RUN, Row, Setting
from benchmarks.speed.machine import machine
from mbrl.data import make_generator

CPU = torch.device("cpu")


class AsIfOnGPU(Setting):
    """The CPU, of which figures are given all the same."""

    measures = True


# parity --------------------------------------------------------------------------------------------------------------


class Changed(TorchDispatchMode):
    """Results of some operations are a little different."""

    def __init__(self, change: Callable[[Tensor], Tensor], changed: Callable[[str, Mapping[str, Any]], bool]) -> None:
        super().__init__()
        self.change, self.changed = change, changed

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        is_number = isinstance(found, Tensor) and found.dtype is torch.float32
        return self.change(found) if is_number and self.changed(name, kwargs or {}) else found


SOME = ["fit and step: GaussianEnsemble: probabilistic", "updates: mbrl.policies.SAC", "ticks: Dyna (Dyna)"]


@pytest.mark.parametrize("name", SOME)
def test_rounding_is_forgiven_and_other_draws_are_not(name: str) -> None:
    case = dict(cases())[name]
    expected, generator = case(CPU), torch.Generator().manual_seed(0)

    def rounded(result: Tensor) -> Tensor:
        return result * (1 + 2e-7 * torch.randn(result.shape, generator=generator))

    with Changed(rounded, lambda operation, _: operation in ("mm", "addmm", "bmm", "baddbmm", "sum", "mean")):
        found = apart(case(CPU), expected)
    assert all(difference <= 0.1 * tolerance(what) for what, difference in found.items())
    with Changed(lambda drawn: drawn * 0.98, lambda operation, _: operation == "randn"):
        found = apart(case(CPU), expected)
    assert any(difference > tolerance(what) for what, difference in found.items())


def test_every_model_learner_and_planner_is_compared() -> None:
    names = [name for name, _ in cases()]
    for guest in ("SINDy", "GaussianProcess", "mbrl.policies.BC", "SequenceSAC", "OfflineDyna", "MPPI", "UP-MPC", "SRL"):
        assert any(guest in name for name in names), guest
    assert len(names) == len(set(names))


def test_a_case_beyond_its_tolerance_fails_by_name() -> None:
    runs = iter([1.0, 1.002, 1.0, 1.0005])

    def case(device: torch.device) -> dict[str, Tensor]:
        return {WEIGHTS: torch.ones(3), "reward": torch.full((2,), next(runs))}

    assert compared("x", case, AsIfOnGPU(CPU)) == Row("x", pytest.approx(0.002, rel=1e-3), "reward, of 0.001 allowed", True)
    assert not compared("x", case, AsIfOnGPU(CPU)).failed
    shapes = iter([2, 3])
    row = compared("x", lambda device: {"reward": torch.ones(next(shapes))}, AsIfOnGPU(CPU))
    assert row == Row("x", "no numbers to compare", "reward", failed=True)


@pytest.mark.parametrize("other", [{}, {"a": torch.ones(3)}, {"a": torch.full((2,), torch.nan)}])
def test_what_is_missing_or_not_a_number_is_infinitely_far(other: dict[str, Tensor]) -> None:
    assert apart(other, {"a": torch.ones(2)}) == {"a": float("inf")}


def test_draws_for_another_device_are_those_of_the_cpu() -> None:
    plain = make_generator("cpu", "draws")
    with host_draws():
        drawn = make_generator("meta", "draws")  # a device that keeps no numbers
        found = [
            torch.randn(3, generator=drawn, device="meta"),
            torch.randint(9, (2,), generator=drawn, device="meta"),
            torch.randperm(4, generator=drawn, device="meta"),
        ]
    assert drawn.device.type == "meta" and {each.device.type for each in found} == {"meta"}
    torch.randn(3, generator=plain)
    torch.randint(9, (2,), generator=plain)
    torch.randperm(4, generator=plain)
    assert torch.equal(drawn.get_state(), plain.get_state())
    assert torch.Generator is type(plain)


# the command ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("section", list(command.SECTIONS))
def test_a_rehearsal_runs_everything_and_gives_no_figure(
    section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    assert command.main(["--device", "cpu", "--only", section, "--out", str(out)]) == 0, capsys.readouterr().err
    rows = json.loads(out.read_text())["sections"][section]["rows"]
    assert rows and all(isinstance(row["value"], str) for row in rows)
    if section == "precision":
        assert all(row["value"].startswith(("taken", "refused")) for row in rows)
    else:
        assert {row["value"] for row in rows} == {NOT_RUN}
    assert f"| {rows[-1]['what']} | {rows[-1]['value']} |" in capsys.readouterr().out


def test_out_of_time_nothing_is_begun() -> None:
    assert {row.value for row in parity(Setting(CPU, ends=0.0))} == {LATE}


def good(setting: Setting) -> Iterator[Row]:
    """One figure."""
    yield Row("speed", 2.0, "steps a second")


def bad(setting: Setting) -> Iterator[Row]:
    """One that shouldn't be, and an error."""
    yield Row("updates: SAC", 0.5, "weights, of 0.01 allowed", failed=True)
    raise ValueError("no")


def killed(setting: Setting) -> Iterator[Row]:
    """The end of the process."""
    yield Row("speed", 3.0)
    raise KeyboardInterrupt


def test_it_fails_with_what_failed_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SECTIONS", {"bad": bad, "good": good})
    assert command.main(["--device", "cpu", "--out", str(tmp_path / "a.json")]) == 1
    told = capsys.readouterr()
    assert "failed: updates: SAC: 0.5 weights, of 0.01 allowed" in told.err and "ValueError: no" in told.err
    assert "| speed | 2 | steps a second |" in told.out
    assert list(json.loads((tmp_path / "a.json").read_text())["sections"]) == ["bad", "good"]


def test_a_kill_loses_one_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SECTIONS", {"good": good, "killed": killed})
    with pytest.raises(KeyboardInterrupt):
        command.main(["--device", "cpu", "--out", str(tmp_path / "a.json")])
    assert list(json.loads((tmp_path / "a.json").read_text())["sections"]) == ["good"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([])
    assert "expected a CUDA device, and torch finds none; give --device cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--device", "tpu", "expected cuda, cuda:<n> or cpu, got 'tpu'"),
        ("--device", "cpu:1", "expected cuda, cuda:<n> or cpu, got 'cpu:1'"),
        ("--minutes", "nan", "expected a finite number above 0, got nan"),
        ("--minutes", "soon", "expected a finite number above 0, got soon"),
        ("--out", ".", "expected a file, got the folder ."),
        ("--out", "/dev/null/mine.json", "expected a folder that can be written"),
    ],
)
def test_wrong_options_are_told_before_any_work(
    option: str, value: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SECTIONS", {"killed": killed})
    with pytest.raises(SystemExit):
        command.main(["--device", "cpu", option, value])
    assert told in " ".join(capsys.readouterr().err.split())


def test_packages_that_only_peers_need_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "stable-baselines3":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("benchmarks.speed.machine.version", version)
    found = machine(CPU)
    assert found["stable_baselines3"] is None and found["gymnasium"] == "1.0"


@pytest.mark.gpu
@pytest.mark.timeout(900)
def test_a_gpu_gives_the_numbers_of_the_cpu() -> None:
    assert [row for row in parity(Setting(torch.device("cuda"))) if row.failed] == []
