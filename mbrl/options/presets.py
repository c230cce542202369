"""`--preset`: shipped settings by name, with the base that they need, for commands that take `--config`.

A preset is a file of `mbrl/configs`, named by its path there without the ending; `presets.yaml` beside it says what each
needs under it. The folder of a base's presets is the base's own name too: `mbpo` alone is `base/mbpo.yaml`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mbrl.errors import ConfigError

OPTION = "--preset"
FOLDER = Path(__file__).parents[1] / "configs"
_BASES = "base/"
_FILES = ("--config", "-c")
_SEARCHES = "search/"  # files of `mbrl search`, which are no presets


def with_presets(arguments: Sequence[str]) -> list[str]:
    """The arguments with each `--preset` in its place as the `--config` of its files.

    Raises:
        ConfigError: for a name that there isn't, and presets that don't fit together.
    """
    found: list[str] = []
    under: list[str] = []  # presets so far
    configured = False  # whether a file of the user's own may be the base
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        name, equals, value = argument.partition("=")
        if name != OPTION:
            configured = configured or name in _FILES
            found.append(argument)
            continue
        asked = [each.strip() for each in (value if equals else pending.pop(0) if pending else "").split(",")]
        while asked:
            later = [*asked[1:], *_asked(pending)]
            for each in _chain(asked.pop(0), under, later, configured):
                found += ["--config", str(FOLDER / f"{each}.yaml")]
                under.append(each)
    return found


def _asked(arguments: Sequence[str]) -> list[str]:
    """What `arguments` name as presets, and the option of a file of the user's own."""
    found: list[str] = []
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == OPTION:
            found += [each.strip() for each in (value if equals else "".join(arguments[place + 1 : place + 2])).split(",")]
        elif name in _FILES:
            found.append(argument)
    return found


def names() -> list[str]:
    """All presets but those of `mbrl search`, bases by their own name first."""
    files = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
    presets = [name for name in files if not name.startswith(_SEARCHES) and name != "presets"]
    return sorted((name.removeprefix(_BASES) for name in presets), key=lambda name: (name.count("/"), name))


def shipped(path: str) -> str:
    """A file that is there, as it is named; else that of the package, where `path` names one as a clone has it."""
    packaged = FOLDER.parent / path
    return str(packaged) if path.startswith("configs/") and not Path(path).exists() and packaged.is_file() else path


def searches() -> list[str]:
    """The names of the shipped files of `mbrl search`."""
    return sorted(path.stem for path in (FOLDER / _SEARCHES).glob("*.yaml"))


def search_file(name: str) -> str:
    """The path of a search file, which may be a shipped one's name."""
    known = name in searches() and not Path(name).exists()
    return str(FOLDER / _SEARCHES / f"{name}.yaml") if known else shipped(name)


def needs(name: str) -> dict[str, Any]:
    """`base` or `over` of a preset, as `presets.yaml` says of it or of its folder, else its folder's base; empty without."""
    table, folder = _table()["needs"], name.rpartition("/")[0]
    found: dict[str, Any] | None = table.get(name) or table.get(folder)
    if found is not None:
        return found
    return {"base": f"{_BASES}{folder}"} if (FOLDER / _BASES / f"{folder}.yaml").is_file() else {}


def evidence(name: str) -> str:
    """Says what was measured with a preset, or that nothing was."""
    return str(_table()["evidence"].get(name, "not run"))


def first_line(name: str) -> str:
    """The first sentence, or line, of a preset's own comment."""
    lines = _path(name).read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# ").strip())
    text, inside = " ".join(comment), 0
    for place, letter in enumerate(text):
        inside += (letter == "(") - (letter == ")")
        if inside == 0 and letter in ".:;" and text[place + 1 : place + 2] in (" ", ""):
            return text[:place]
    return text


def _chain(name: str, under: Sequence[str], later: Sequence[str], configured: bool) -> list[str]:
    """The files that a preset adds to those so far, its base first, as names below the folder."""
    file = _path(name).relative_to(FOLDER).with_suffix("").as_posix()
    wanted = {} if file.startswith(_BASES) else needs(name)
    if over := wanted.get("over"):
        if not configured and not any(_is_of(each, over) for each in under):
            got = f"got {under[-1].removeprefix(_BASES)}" if under else "got none"
            advice = f"give {OPTION} {_example(over)},{name}, say."
            for each in later:  # what it needs is there, behind it
                if each.partition("=")[0] in _FILES:
                    got, advice = f"{got} before {each.partition('=')[0]}", f"put {OPTION} {name} behind it."
                    break
                if _is_of(each, over):
                    got, advice = f"{got} before {each}", f"give {OPTION} {each},{name}."
                    break
            raise ConfigError(
                f"{OPTION} {name}: expected a preset before it that it goes over, of {_listed(over)}, {got}; {advice}"
            )
        return [file]
    if under:
        raise ConfigError(
            f"{OPTION} {name}: expected one preset, and what goes over it, got {under[-1].removeprefix(_BASES)} before it; "
            "leave one out."
        )
    base = wanted.get("base")
    return [file] if base is None else [*_chain(base.removeprefix(_BASES), (), (), configured), file]


def _is_of(name: str, over: Sequence[str]) -> bool:
    """True if a preset is one of those named, lies in a folder named, or is the base of such a folder."""
    return any(name in (each, f"{_BASES}{each}") or name.startswith(f"{each}/") for each in over)


def _listed(over: Sequence[str]) -> str:
    return " or ".join(f"{each}/…" if (FOLDER / each).is_dir() else each for each in over)


def _example(over: Sequence[str]) -> str:
    """A preset of the first folder, such as one that was run."""
    return next((name for name in (*_table()["evidence"], *names()) if _is_of(name, over) and "/" in name), over[0])


def _path(name: str) -> Path:
    for each in (name, f"{_BASES}{name}"):
        path = FOLDER / f"{each}.yaml"
        if name and name in names() and path.is_file():
            return path
    near = (
        difflib.get_close_matches(name, names(), 3, 0.5)
        or [each for each in names() if name and each.rpartition("/")[2].startswith(name.rpartition("/")[2])][:3]
    )
    advice = f"did you mean {' or '.join(near)}?" if near else "mbrl presets lists them."
    raise ConfigError(f"{OPTION}: expected the name of a preset, got {name or 'nothing'}; {advice}")


@cache
def _table() -> dict[str, Any]:
    import yaml  # only where presets are asked for

    found: dict[str, Any] = yaml.safe_load((FOLDER / "presets.yaml").read_text(encoding="utf-8"))
    return found
