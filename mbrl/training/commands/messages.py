"""The parser's complaints about a configuration, as one sentence each: what was expected, what came, what to do."""

from __future__ import annotations

import builtins
import difflib
import pkgutil
import re
import sys
from collections.abc import Sequence
from typing import Literal

from mbrl.arguments import described

_ON_PATH = "check the spelling; for a module of your own add --allow MODULE, which puts the current folder on the path"


def sentence(message: str, known: Sequence[str] = ()) -> str:
    """`message` of jsonargparse as one sentence.

    Args:
        message: several lines, often with the types of a union and the whole value.
        known: names of the settings that the failing part takes.
    """
    text = " ".join(message.split())
    if found := re.search(r"[Oo]ption '([^']+)' is not accepted|does not accept option '([^']+)'", text):
        return _unknown(found[1] or found[2], known)
    if found := re.search(r"Problem with given class_path '([^']+)': (.*?)(?: - Expected a|$)", text):
        near = _nearest(found[1])
        advice = f"{_ON_PATH}." if near is None else f"did you mean {near}?"
        return f"class_path: expected the dotted name of a class, got {found[1]} ({found[2].rstrip('.')}); {advice}"
    key = re.match(r'Parser key "([^"]+)": ', text)
    where = f"{key[1]}: " if key else ""
    if found := re.search(r"(\S+) stands twice in .*?, line (\d+)", text):
        return f"{found[1]}: expected each key once, got it again in line {found[2]} of a configuration file; leave one out."
    if found := re.search(r"Not of type PathLike: .* Given value: (.*)", text):
        return f"{where}expected a path, which is text, got {found[1]}; put it in quotes if it is one."
    if found := re.search(r"Import path (\S+) does not correspond to a subclass of (\w+)", text):
        return f"{where}expected a class derived from {found[2]}, got {found[1]}, which is none; give the class_path of one."
    if (found := re.search(r"Subtypes: \[(.*)\] Errors: .* Given value: (.*)", text)) and (
        asked := _union(found[1], found[2])
    ):
        if found[2] == "None" and "null" in asked:  # the parser takes none as a single option of a part of a part
            return f"{where}expected {asked} in a file, got it on the command line; give a file by --config."
        return f"{where}expected {asked}, got {found[2]}."
    if found := re.search(r"Expected a (<class '[\w.]+'>|typing\.Literal\[[^\]]*\])\. Got value: (.*)", text):
        return f"{where}expected {_words(found[1])}, got {found[2]}."
    if found := re.search(r"arguments are required: (.*)", text):
        names = found[1].replace("fit.", "")
        return f"{names}: expected a value, got none; set it in the configuration or on the command line."
    return f"{where}{text[key.end() :] if key else text}".rstrip(".") + "; mbrl COMMAND --help lists what can be set."


def _union(kinds: str, came: str) -> str | None:
    """What the types of a union ask for, in words; None if one of them has none.

    A class of parts has its name, where plain data would do as well and it isn't the part's own settings that `came`.
    """
    each = [kind for kind in re.split(r", (?![^\[]*\])", kinds) if kind]
    found = [_words(kind) for kind in each]
    if not came.startswith("{") and any(said not in (None, "null") for said in found):
        classes = [re.fullmatch(r"<class '(?:\w+\.)+(\w+)'>", kind) for kind in each]
        found = [said or (f"a {cls[1]}" if cls else None) for said, cls in zip(found, classes, strict=True)]
    return None if None in found else ", or ".join(str(one) for one in found)


def _words(kind: str) -> str | None:
    """What a type asks for, in words, from how Python prints it."""
    if found := re.fullmatch(r"(?:typing\.)?Annotated\[(.*?), (.*)\]", kind):
        inner = _words(found[1])
        return None if inner is None else f"{inner} {found[2]}".replace("a finite number", "a number")
    if found := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return described(Literal[tuple(part.strip(" '\"") for part in found[1].split(","))])
    name = re.sub(r"\[.*", "", kind.removeprefix("<class '").removesuffix("'>"))
    if name in ("collections.abc.Sequence", "list", "tuple"):
        return "a list"
    if name == "collections.abc.Mapping":
        return "a mapping"
    if name == "NoneType":
        return "null"
    return described(getattr(builtins, name)) if hasattr(builtins, name) else None


def _nearest(name: str) -> str | None:
    """The name of a class like `name`, in its module or in one with a name like it; None if there is none."""
    module, _, last = name.rpartition(".")
    home = sys.modules.get(module)
    if home is not None:
        public = getattr(home, "__all__", None) or [item for item in vars(home) if not item.startswith("_")]
        close = difflib.get_close_matches(last, [item for item in public if isinstance(getattr(home, item, None), type)], 1)
        return f"{module}.{close[0]}" if close else None
    package, _, file = module.rpartition(".")
    where = getattr(sys.modules.get(package), "__path__", None)
    close = difflib.get_close_matches(file, [] if where is None else [item.name for item in pkgutil.iter_modules(where)], 1)
    return f"{package}.{close[0]}.{last}" if close else None


def _unknown(name: str, known: Sequence[str]) -> str:
    group = name.rpartition(".")[0]
    siblings = [other for other in known if other.rpartition(".")[0] == group]
    close = difflib.get_close_matches(name, siblings, 1)
    if close:
        return f"{name}: expected a setting that exists, got this one; did you mean {close[0]}?"
    names = [other.rpartition(".")[2] for other in siblings]
    choice = f"choose one of {', '.join(names)}" if names else "mbrl COMMAND --help lists what can be set"
    return f"{name}: expected a setting that exists, got this one; {choice}."
