"""Every public class and function says what it is; an override may leave it to what it overrides."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import mbrl

MODULES = sorted(module.name for module in pkgutil.walk_packages(mbrl.__path__, "mbrl."))


def undocumented(module: object) -> list[str]:
    name = module.__name__  # type: ignore[attr-defined]
    found = []
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) and not inspect.getdoc(value):
            found.append(f"{name}.{key}")
        if inspect.isclass(value):
            if not value.__doc__:
                found.append(f"{name}.{key}")
            for member, function in vars(value).items():
                if member.startswith("_") or not (inspect.isfunction(function) or isinstance(function, property)):
                    continue
                if not inspect.getdoc(getattr(value, member)):  # inherited where it overrides
                    found.append(f"{name}.{key}.{member}")
    return found


def test_public_names_are_documented() -> None:
    found = [entry for name in MODULES for entry in undocumented(importlib.import_module(name))]
    assert not found, "\n".join(found)
