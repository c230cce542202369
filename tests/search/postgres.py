"""A PostgreSQL server of a test's own: on loopback, as an ordinary user, in a folder that goes away."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "not-for-anyone"
USER = "searcher"


def missing() -> str:
    """Why there can be no server; empty if there can."""
    try:
        import psycopg
    except ImportError as error:
        return f"psycopg can't be imported: {error}"
    assert psycopg
    return "" if _program("initdb") else "PostgreSQL is not installed (Debian's package: postgresql)"


@contextmanager
def server() -> Iterator[str]:
    """Starts a server that asks for a password; gives the URL of its database, without the password."""
    import psycopg

    folder = Path(tempfile.mkdtemp(prefix="mbrl-postgres-"))
    ordinary: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        ordinary = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    common: dict[str, Any] = {"cwd": folder, **ordinary}
    try:
        made = [_program("initdb"), "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, **common)
        settings = ["listen_addresses=127.0.0.1", "fsync=off", f"unix_socket_directories={folder}", "max_connections=40"]
        options = [option for setting in settings for option in ("-c", setting)]
        command = [_program("postgres"), "-D", data, "-p", str(port), *options]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, **common) as process:
            try:
                until = time.monotonic() + 60
                while True:
                    try:
                        psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres").close()
                        break
                    except psycopg.OperationalError:
                        if process.poll() is not None or time.monotonic() > until:
                            raise
                        time.sleep(0.1)
                yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
            finally:
                process.send_signal(signal.SIGINT)  # a terminated one would wait for all who are connected
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    """The newest of Debian's versions, or what is on the path; empty if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name) or ""
