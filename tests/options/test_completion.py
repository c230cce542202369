"""Shells complete what the commands take, without importing what takes long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mbrl.cli import COMMANDS, main
from mbrl.options.completion import script


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    file = tmp_path / "mbrl.bash"
    file.write_text(script("bash", COMMANDS))
    listed = " ".join(f"'{word}'" for word in ("mbrl", *words))
    code = (
        f"source {file}; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _shtab_mbrl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    return done.stdout.split()


def test_commands_options_presets_and_folders(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert set(completed(tmp_path, "pl")) == {"play", "plot"}
    assert completed(tmp_path, "search", "conf") == ["confirm"]
    assert completed(tmp_path, "play", "--vid") == ["--video"]
    assert completed(tmp_path, "play", "ru") == ["runs"]
    assert "mbpo/pendulum" in completed(tmp_path, "fit", "--preset", "mbpo/")
    assert completed(tmp_path, "fit", "--trainer.eval") == ["--trainer.eval_every"]
    assert set(completed(tmp_path, "hub", "pu")) == {"push", "pull"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_it_imports_nothing_that_takes_long(shell: str) -> None:
    code = (
        f"import sys\nfrom mbrl.cli import main\nassert main(['--print-completion', '{shell}']) == 0\n"
        "slow = {'torch', 'pytorch_lightning', 'numpy', 'optuna', 'matplotlib'} & set(sys.modules)\nassert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max_steps" in done.stdout and "search" in done.stdout


def test_refusals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (["--print-completion", "fish"], ["--print-completion"], ["--print-completion=fish"]):
        assert main(given) == 2
        assert "expected bash or zsh, got" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert "pip install 'mbrl-toolkit[completion]'" in capsys.readouterr().err
