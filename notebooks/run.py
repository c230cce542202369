"""Executes the notebooks: `python -m notebooks.run [NAME …]` in the repository's root, all of them if none is named.

Outputs are written into the notebooks, from the full settings. `--small` runs the small ones, which tests use, and writes
nothing. Needs the extra `notebooks`; no Jupyter installation, and no registered kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import configparser
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_VARIABLE = "MBRL_NOTEBOOK_SMALL"
_KERNEL = r"(ipykernel|IPython|jupyter_client|tornado|traitlets|zmq|debugpy)\b"


class ThisPython(KernelSpecManager):
    """The one kernel of the Python that runs this, whatever kernels are registered on the machine.

    It treats warnings as the project's tests do.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        warn = f"--IPKernelApp.exec_lines={warning_lines()!r}"
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", warn]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def warning_lines() -> list[str]:
    """Statements that set the warning filters of the project's tests."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(FOLDER.parent / "setup.cfg", encoding="utf-8")
    lines = ["import warnings"]
    for line in settings["tool:pytest"]["filterwarnings"].strip().splitlines():
        action, message, category, module = [*line.split(":"), "", "", ""][:4]
        where = f"message={message!r}, category={category or 'Warning'}, module={module!r}"
        lines.append(f"warnings.filterwarnings({action!r}, {where})")
    # what the kernel thinks of its own parts is not the notebook's
    lines.append(f"warnings.filterwarnings('default', module={_KERNEL!r})")
    return lines


def execute(path: Path, folder: Path, *, small: bool, timeout: int = 600) -> Any:
    """The notebook with the outputs of a fresh run.

    Args:
        path: path of the notebook, which is left as it is.
        folder: folder in which it runs.
        small: whether it takes its small settings.
        timeout: seconds per cell.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if name != _VARIABLE}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment |= {"IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(folder), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    environment |= {_VARIABLE: "1"} if small else {}
    with tempfile.TemporaryDirectory() as sockets:  # short, as the names of sockets have to be
        manager = AsyncKernelManager(
            kernel_spec_manager=ThisPython(),
            kernel_name="python3",
            transport="ipc",  # opens no port
            connection_file=str(Path(sockets) / "kernel.json"),
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=timeout,
            record_timing=False,  # no time of day in what is committed
            resources={"metadata": {"path": str(folder)}},
        )
        # not client.execute(), which makes an event loop that it leaves open
        asyncio.run(client.async_execute(env=environment, cleanup_kc=True))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main(arguments: Sequence[str] | None = None) -> None:
    """Executes the notebooks named in `arguments`."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names, such as 01; all if none is given")
    parser.add_argument("--small", action="store_true", help="the small settings; writes nothing")
    given = parser.parse_args(arguments)
    chosen = [path for path in NOTEBOOKS if not given.names or path.name.startswith(tuple(given.names))]
    if not chosen:
        parser.error(f"expected names among {', '.join(path.stem for path in NOTEBOOKS)}, got {' '.join(given.names)}")
    for path in chosen:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder), small=given.small)
        if not given.small:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
