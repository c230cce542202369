"""Dotted names of classes and functions: the public name of a class, and names from files made safe.

Names in files run nothing by themselves: `import_name` is the one place where a text becomes an object, and it resolves
only what is *defined* in the modules that the caller allows, and in those of ours that the kind of name may lie in:

- a class (`from_spec`): anywhere in `mbrl`, and then only a `Configurable`;
- a task's reward or termination: `TASK_FUNCTIONS`;
- a callable in an environment's arguments (`CALLABLES`): nowhere in `mbrl`, whose own functions write files and start
  commands;
- an environment's `module:Id`: anywhere in `mbrl`, which imports a module and no more.

`allow=None` stands for a name that the user wrote in their own YAML or Python, which may lie anywhere.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from mbrl.errors import ConfigError, UntrustedNameError

OURS: tuple[str, ...] = ("mbrl",)
TASK_FUNCTIONS = ("mbrl.envs.rewards", "mbrl.envs.terminations", "mbrl.testing.linear")
CALLABLES: tuple[str, ...] = ()


def class_path(cls: type) -> str:
    """The public name of `cls`: in the shortest package whose `__all__` exports it, or else where it is defined."""
    return next(_exports(cls), f"{cls.__module__}.{cls.__qualname__}")


def _exports(cls: type) -> Iterator[str]:
    parts = cls.__module__.split(".")
    for length in range(1, len(parts) + 1):
        package = sys.modules.get(".".join(parts[:length]))
        if cls.__name__ in getattr(package, "__all__", ()) and getattr(package, cls.__name__, None) is cls:
            yield f"{'.'.join(parts[:length])}.{cls.__name__}"


def name_of(function: Any, where: str = "function") -> str:
    """The dotted name of a module-level function or class.

    Raises:
        ConfigError: for a lambda or a nested function, which no other process could import.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" in name:
        raise ConfigError(f"{where}: expected a function with a dotted name, got {name}; define it at the top of a module.")
    return name


def address(name: str) -> str:
    """The public name of the class that `name` means, whichever of its names that is; imports nothing but `mbrl`.

    Args:
        name: such as `mbrl.models.gaussian_ensemble.GaussianEnsemble`; one that isn't known to name a class is returned
            as it is.
    """
    found = loaded(name)
    return name if found is None else class_path(found)


def loaded(name: str) -> type | None:
    """The class that a dotted name means, if it is one of `mbrl` or of a module that was imported already."""
    try:
        found = import_name(name) if name.startswith("mbrl.") else _found(name, _already_imported, _already_there)[0]
    except (ConfigError, UntrustedNameError):
        return None
    return found if isinstance(found, type) else None


def check_allowed(name: str, allow: Sequence[str] = (), ours: Sequence[str] = OURS) -> None:
    """Refuses a dotted name outside the modules of ours that may be named and those in `allow`.

    Args:
        name: such as `my_package.rewards.swing_up`, or an environment's id with a module, `my_package:MyEnv-v0`.
        allow: modules, or the only one, that the user trusts.
        ours: modules of this library that need no leave.

    Raises:
        UntrustedNameError: with the flag that would allow it.
    """
    path = name.split(":")[0]
    allowed = (*ours, allow) if isinstance(allow, str) else (*ours, *allow)  # a lone name is a sequence too, of letters
    if any(path == module or path.startswith(f"{module}.") for module in allowed):
        return
    module = path.split(".")[0]
    if module == "__main__" or "<locals>" in path:
        where = "a script itself" if module == "__main__" else "a function"
        raise UntrustedNameError(f"expected a name that can be imported, got {name} of {where}; move it to a module.")
    places = " or ".join(ours) or "a module that is allowed"
    advice = f"if you trust it, add --allow {module} (from Python: allow=[{module!r}])"
    if module == "mbrl":
        advice = "nothing that this library writes names it there, so don't trust that file"
    raise UntrustedNameError(
        f"expected a name in {places}, got {name}, which lies outside {places}, and names run nothing there unless their "
        f"module is trusted; {advice}."
    )


def import_name(name: str, allow: Sequence[str] | None = (), ours: Sequence[str] = OURS) -> Any:
    """Imports the object with a dotted name.

    Args:
        name: such as `my_package.rewards.swing_up`. Of a class whose file has moved since, its former name is read too, as
            long as a package on the way exports it.
        allow: modules, besides `ours`, in which names may be looked up; None for a name that the user wrote in their own
            YAML or Python, which may lie anywhere.
        ours: modules of this library that need no leave.

    Raises:
        UntrustedNameError: if the object, or the class that it is an attribute of, is defined outside `ours` and `allow`.
        ConfigError: if there is no such object.
    """
    if not isinstance(name, str):
        raise ConfigError(f"expected a dotted name, got {name!r}; write one such as my_module.my_function.")
    if allow is None:
        return _found(name, importlib.import_module)[0]

    def check(path: str) -> None:
        check_allowed(path, allow, ours)

    check(name)
    found, home = _found(name, importlib.import_module, check=check)
    if inspect.ismodule(found):  # a trusted module's imports are no way out: mbrl.spec.os.system is os.system
        check(found.__name__)
    elif (origin := getattr(found, "__module__", None)) is not None:
        check(f"{origin}.{getattr(found, '__qualname__', type(found).__name__)}")
    elif callable(found):  # a method of something built in, such as that of a dict which a trusted module holds
        raise UntrustedNameError(
            f"expected what is defined in {home}, got {name}, of which Python doesn't say where; name a function or a class."
        )
    return found


def _already_imported(name: str) -> ModuleType:
    if name not in sys.modules:
        raise ModuleNotFoundError(name=name)
    return sys.modules[name]


def _already_there(owner: Any, name: str) -> Any:
    """An attribute that needs no module to be imported, as some packages do when they are asked."""
    if name not in vars(owner):
        raise AttributeError(name)
    return vars(owner)[name]


def _found(
    name: str,
    module: Callable[[str], ModuleType],
    attribute: Callable[[Any, str], Any] = getattr,
    check: Callable[[str], None] | None = None,
) -> tuple[Any, str]:
    """The object with a dotted name, and the module that was entered for it.

    `check`, if given, is asked of each module and class on the way, and nothing but these is entered.
    """
    parts = name.split(".")
    if not all(parts):
        parts = []
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise  # the module exists, and something that it imports doesn't
            continue
        try:
            for part in parts[cut:]:
                if check is not None:
                    if part.startswith("__") or not (inspect.ismodule(found) or inspect.isclass(found)):
                        raise AttributeError(part)  # a function's globals are no place to look for names, nor an object's
                    check(found.__name__ if inspect.ismodule(found) else f"{found.__module__}.{found.__qualname__}")
                found = attribute(found, part)
        except (AttributeError, TypeError):
            file_is_gone = inspect.ismodule(found) and all(part.islower() for part in parts[cut:-1])
            for length in range(cut if file_is_gone else 0, 0, -1):  # the nearest package that exports it knows where it is
                package = module(".".join(parts[:length]))
                moved = getattr(package, parts[-1], None) if parts[-1] in getattr(package, "__all__", ()) else None
                if isinstance(moved, type):
                    return moved, package.__name__
            missing = ".".join(parts[cut:])
            raise ConfigError(f"expected {name} to exist, but {module_name} has no {missing}; check the spelling.") from None
        return found, module_name
    raise ConfigError(
        f"expected a dotted name that can be imported, got {name!r}; check it, or add --allow MODULE of the current folder."
    )
