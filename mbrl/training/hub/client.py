"""`Client`: what is asked of the hub, which `huggingface_hub.HfApi` answers, and a folder may in a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from mbrl.errors import ConfigError, HubError, MbrlError

_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)


class Client(Protocol):
    """The hub; methods and arguments are those of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, private: bool | None = None, exist_ok: bool = False) -> Any:
        """Makes a repository."""

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str | None = None, delete_patterns: list[str] | None = None
    ) -> Any:
        """Commits a folder's files to it, and removes those there that fit the patterns and aren't in the folder."""

    def snapshot_download(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        local_dir: str | None = None,
        allow_patterns: list[str] | None = None,
    ) -> Any:
        """Brings its files here, and returns the folder."""


def client_or_hub(client: Client | None) -> Client:
    """The client, or the hub itself.

    Raises:
        ConfigError: if the library that speaks to the hub isn't installed.
    """
    if client is not None:
        return client
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ConfigError(
            "expected huggingface_hub to reach the hub by, got none; run pip install 'mbrl-toolkit[hub]'."
        ) from error
    found: Client = HfApi(library_name="mbrl-toolkit")
    return found


def check_repo(repo_id: str) -> None:
    """Refuses what isn't the name of a repository.

    Raises:
        ConfigError: naming the form.
    """
    if not isinstance(repo_id, str) or _NAME.fullmatch(repo_id) is None:
        raise ConfigError(f"expected a repository of the hub as user/name, got {repo_id!r}; name it so.")


@contextmanager
def asking_hub(repo_id: str) -> Iterator[None]:
    """Speaks to the hub, which fails in many ways.

    Raises:
        HubError: in place of its client's errors.
    """
    try:
        yield
    except MbrlError:
        raise
    except Exception as error:  # no network, no such repository, no token: each library beneath has errors of its own
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise HubError(
            f"expected the hub to answer for {repo_id}, got {type(error).__name__} ({text}); check name and network, and "
            "log in (hf auth login) to write, or to read what isn't public."
        ) from error
