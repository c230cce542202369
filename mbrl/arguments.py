"""Limits of arguments: declared once, in the signature, and checked before a constructor's body runs.

`members: Count` says all that there is to say of a single argument. Constructors keep rules between arguments only. Each
refusal is one sentence that names the class, the argument, the limit and the value:

    GaussianEnsemble(members=…): expected a whole number of at least 1, got 2.5.

Specs (`mbrl.spec`) check the constructors of everything that YAML can make; `checked` does so for other classes.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import reprlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

from mbrl.errors import ArgumentError, ConfigError, MbrlError, ShapeError

Init = TypeVar("Init", bound=Callable[..., None])

_WORDS = {NoneType: "None", bool: "true or false", str: "text", Mapping: "a mapping", dict: "a mapping"}
_LISTS = (Sequence, Collection, Iterable, list, tuple)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 12


@dataclass(frozen=True, repr=False)
class Limits:
    """Ends of the range of a number, each None for no limit.

    Args:
        least: smallest that is fine.
        most: largest that is fine.
        above: what the number must exceed.
        below: what it must stay below.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, number: float) -> bool:
        """Tells whether `number` lies in the range."""
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __repr__(self) -> str:  # the command line's help shows it beside the type
        if self.least is not None and self.most is not None:
            return f"from {_plain(self.least)} to {_plain(self.most)}"
        ends = {"of at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{word} {_plain(end)}" for word, end in ends.items() if end is not None)


def _plain(end: float) -> str:
    return str(end) if isinstance(end, int) else f"{end:g}"


@dataclass(frozen=True, repr=False)
class Items:
    """How many items a list has, and whether they rise.

    Args:
        least: fewest that are fine.
        most: most that are fine; None for no limit.
        rising: whether each must be larger than the one before.
    """

    least: int
    most: int | None = None
    rising: bool = False

    def hold(self, items: Sequence[Any]) -> bool:
        """Tells whether `items` are as many, and in order."""
        fit = self.least <= len(items) and (self.most is None or len(items) <= self.most)
        return fit and not (self.rising and any(one >= next_one for one, next_one in pairwise(items)))

    def __repr__(self) -> str:
        number = f"of {self.least}" if self.most == self.least else f"of at least {self.least}"
        return f"{number}, rising" if self.rising else number


Count = Annotated[int, Limits(1)]
Natural = Annotated[int, Limits(0)]
Seed = Annotated[int, Limits(0, 2**32 - 1)]  # what every generator takes
Positive = Annotated[float, Limits(above=0)]
NonNegative = Annotated[float, Limits(0)]
Share = Annotated[float, Limits(0, 1)]
ShareBetween = Annotated[float, Limits(above=0, below=1)]
Discount = Annotated[float, Limits(above=0, most=1)]
ShareBelowOne = Annotated[float, Limits(0, below=1)]
Widths = Annotated[Sequence[Count], Items(1)]
Range = Annotated[Sequence[float], Items(2, 2, rising=True)]


def check_argument(where: str, value: object, declared: Any) -> None:
    """Refuses `value` unless it is what an annotation declares.

    Args:
        where: such as `CEM(elites=…)`, which begins the message.
        value: what was given. Numbers must be finite, an integer counts as a number, and a bool doesn't.
        declared: a resolved annotation, such as `Count | None`; what isn't known here declares nothing.

    Raises:
        ConfigError: otherwise.
    """
    if not _accepts(declared, value):
        raise ConfigError(f"{where}: {_refusal(declared, value)}.")


def _refusal(declared: Any, value: object) -> str:
    came = " ".join(_REPR.repr(value).split())  # a module's has lines
    return f"expected {described(declared)}, got {came}"


def check_whole(where: str, value: int, least: int = 1, most: int | None = None) -> None:
    """Refuses `value` unless it is a whole number from `least` to `most`; otherwise as `check_argument`."""
    check_argument(where, value, Annotated[int, Limits(least, most)])


def check_known(where: str, name: str, names: Iterable[str], error: type[MbrlError] = ConfigError) -> None:
    """Refuses a `name` that isn't one of `names`, with an `error` that lists them; `where` begins the message."""
    known = list(names)
    if name not in known:
        raise error(f"{where}: expected one of {', '.join(known)}, got {name!r}; check the spelling.")


def check_shape(
    where: str, value: Any, shape: tuple[int | str, ...], advice: str, error: type[MbrlError] = ShapeError
) -> None:
    """Refuses `value` unless it has `shape`.

    Args:
        where: such as `Critics(action)`, which begins the message.
        value: a tensor, an array, or a list, whose shape is its length.
        shape: size of each dim; a letter stands for any size, and `B` in front for any number of leading dims.
        advice: what to do about another shape, without the full stop.
        error: what to raise.

    Raises:
        ShapeError: or `error`, with both shapes.
    """
    found = tuple(value.shape) if hasattr(value, "shape") else (len(value),)
    sizes = ("B",) * (len(found) - len(shape) + 1) + shape[1:] if shape[:1] == ("B",) else shape
    if len(found) != len(sizes) or any(size != dim for size, dim in zip(sizes, found, strict=True) if isinstance(size, int)):
        came = " x ".join(map(str, found)) or "a single number"
        raise error(f"{where}: expected shape {' x '.join(map(str, shape))}, got {came}; {advice}.")


def checked(init: Init) -> Init:
    """A constructor that refuses arguments other than its signature declares, of a class that isn't `Configurable`."""
    signature = resolved_signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        args, kwargs = without_numpy(args, kwargs)
        check_arguments(init, self, bound_arguments(signature, self, args, kwargs))
        init(self, *args, **kwargs)

    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


def without_numpy(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with Python's own numbers in place of NumPy's, in lists too: what is kept, printed or counted is plain."""
    return tuple(map(_plain_number, args)), {name: _plain_number(value) for name, value in kwargs.items()}


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple) and any(isinstance(item, (np.generic, list, tuple)) for item in value):
        return type(value)(map(_plain_number, value))
    return value


def bound_arguments(
    signature: inspect.Signature, made: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """A constructor's arguments by name, without defaults.

    Raises:
        ArgumentError: naming the class of `made` and what it takes, if they don't fit the signature.
    """
    try:
        return signature.bind(made, *args, **kwargs)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "nothing"
        raise ArgumentError(f"{type(made).__name__}: {error}; it takes {takes}.") from None


def check_arguments(init: Callable[..., None], made: Any, bound: inspect.BoundArguments) -> None:
    """Refuses arguments of a constructor that its signature doesn't declare; its own defaults are its own business.

    Raises:
        ConfigError: naming the class of `made`, the argument, what it declares, and the value; for a part in a place that
            isn't its own, also where it fits.
    """
    declared = declarations(init)
    for name, parameter, value in _given(bound):
        if parameter.name not in declared or value is parameter.default or _accepts(declared[parameter.name], value):
            continue
        advice = ""
        if isinstance(value, type):
            advice = f"; make one: {value.__name__}(…)"
        elif _fits_part([declared[parameter.name]], value):
            advice = "; put it in a list"
        elif fits := [
            other for other, kind in declared.items() if other != name and _fits_part([kind, *get_args(kind)], value)
        ]:
            advice = f"; it fits {' or '.join(fits)}"
        raise ConfigError(f"{type(made).__name__}({name}=…): {_refusal(declared[parameter.name], value)}{advice}.")


def _fits_part(kinds: Iterable[Any], value: Any) -> bool:
    """Whether one of `kinds` is a class that `value` is of, or a list of such; plain data fit anywhere and nowhere."""
    listed = [part for kind in kinds for part in (get_args(kind) if get_origin(kind) in _LISTS else [kind])]
    plain = (int, float, str, bool, *_LISTS, *_WORDS)
    return any(_is_class(kind) and kind not in plain and isinstance(value, kind) for kind in listed)


def _given(bound: inspect.BoundArguments) -> Iterator[tuple[str, inspect.Parameter, Any]]:
    """Each argument: its name, the parameter that takes it, and its value; those of `*args` and `**kwargs` one by one."""
    for name, value in bound.arguments.items():
        parameter = bound.signature.parameters[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            yield from ((key, parameter, item) for key, item in value.items())
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((name, parameter, item) for item in value)
        else:
            yield name, parameter, value


def resolved_signature(function: Callable[..., Any]) -> inspect.Signature:
    """A function's signature with its limits on numbers, for the command line's help, which would resolve none itself."""
    signature = inspect.signature(function)
    known = declarations.__wrapped__(function)  # not remembered: a name may be defined further down
    for name, declared in known.items():
        if get_origin(declared) is Annotated and get_origin(get_args(declared)[0]):  # a list, which the parser must know
            known[name] = get_args(declared)[0]
    parameters = signature.parameters.values()
    return signature.replace(parameters=[one.replace(annotation=known.get(one.name, one.annotation)) for one in parameters])


@functools.cache
def declarations(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function or dataclass; those that only a type checker can resolve are left out."""
    known = vars(sys.modules[function.__module__]) if function.__module__ in sys.modules else {}
    found: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(function).items():
        try:
            one = SimpleNamespace(__annotations__={name: annotation})
            found.update(get_type_hints(one, known, include_extras=True))
        except (NameError, AttributeError, TypeError, SyntaxError):
            continue
    return found


def _accepts(declared: Any, value: Any) -> bool:
    kind, parts = get_origin(declared) or declared, get_args(declared)
    if kind is Annotated:
        return _accepts(parts[0], value) and all(mark.hold(value) for mark in parts[1:] if isinstance(mark, (Limits, Items)))
    if kind in (Union, UnionType):
        return any(_accepts(part, value) for part in parts)
    if kind is Literal:
        kinds = (bool, str, numbers.Integral)  # else True is 1, and 1.0 too; NumPy's integers are such
        same = (choice for choice in parts if all(isinstance(value, k) == isinstance(choice, k) for k in kinds))
        return any(bool(value == choice) for choice in same)
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if kind is str:
        return isinstance(value, (str, os.PathLike))
    if kind in (int, float):
        number: Any = numbers.Integral if kind is int else numbers.Real  # NumPy's are such too
        return not isinstance(value, bool) and isinstance(value, number) and abs(value) < float("inf")  # nor is NaN
    if kind in _LISTS:
        return isinstance(value, (list, tuple)) and _items_are_fine(kind, parts, value)
    if kind in (Mapping, dict) and parts:
        fits = isinstance(value, Mapping) and all(_accepts(parts[0], key) for key in value)
        return fits and all(_accepts(parts[1], item) for item in value.values())
    return not _is_class(kind) or isinstance(value, kind)


def _is_class(kind: Any) -> bool:
    """Whether an annotation is a class whose objects can be told."""
    return isinstance(kind, type) and kind is not Any and not getattr(kind, "_is_protocol", False) and not is_typeddict(kind)


def _items_are_fine(kind: Any, parts: tuple[Any, ...], items: Sequence[Any]) -> bool:
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        return len(items) == len(parts) and all(map(_accepts, parts, items))
    return not parts or all(_accepts(parts[0], item) for item in items)


def described(declared: Any, marks: tuple[Any, ...] = ()) -> str:
    """The words for what an annotation asks for, as the object of "expected"."""
    kind, parts = get_origin(declared) or declared, get_args(declared)
    limits = "".join(f" {mark!r}" for mark in marks)
    if kind is Annotated:
        return described(parts[0], parts[1:])
    if kind in (Union, UnionType):
        return ", or ".join(map(described, parts))
    if kind is Literal:
        return f"{'one of ' if len(parts) > 1 else ''}{', '.join(map(str, parts))}"
    if kind is int:
        return f"a whole number{limits}"
    if kind is float:
        ends = any(mark.most is not None or mark.below is not None for mark in marks if isinstance(mark, Limits))
        return f"a {'' if ends else 'finite '}number{limits}"
    if kind in _LISTS:
        return f"a list{limits}" + (f", each {described(parts[0])}" if parts else "")
    if kind in _WORDS:
        return _WORDS[kind]
    name = getattr(kind, "__name__", str(kind))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
