"""`Library`: the terms of which a sparse model may be made, as plain data, and `Terms`, what they are of given inputs.

Whatever a library asks for, a term is a product of factors, each an input or a sine or cosine of one:

    symbol  meaning
    d       inputs, the states (S) and behind them the controls (A)
    p       terms
    z       inputs, B x d, environment units

Brunton2016: "Discovering governing equations from data by sparse identification of nonlinear dynamical systems" (PNAS).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from mbrl.arguments import Natural, Positive
from mbrl.errors import ConfigError
from mbrl.spec import Configurable


class Library(Configurable):
    """Monomials and waves of some inputs, and how controls enter them [Brunton2016].

    The order is pysindy's: the constant, monomials by degree and within one from left to right, waves by frequency; then the
    controls, and each term with each control.

    Args:
        degree: of monomials at most, 0 for none; p grows as C(d + degree, degree).
        interactions: whether monomials of several inputs are among them, or powers of single ones only.
        bias: whether the constant 1 is. Beside the squares of a cosine and a sine, whose sum it is, one of the three is
            redundant.
        frequencies: waves sin(2π k z / period) and cos(2π k z / period) of each input, k from 1 to this number; 0 for none.
        period: of the waves, in the inputs' units: 6.283… for radians, 360 for degrees.
        control_affine: whether monomials and waves are of the states alone, to which are added each control and its product
            with each of them (but not with the constant). False takes controls as inputs like others.
        inputs: places of the inputs that it is of, states first, from 0; None for all.

    Raises:
        ConfigError: if it has no term, or an input is named twice.
    """

    def __init__(
        self,
        degree: Natural = 2,
        interactions: bool = True,
        bias: bool = True,
        frequencies: Natural = 0,
        period: Positive = 2 * math.pi,
        control_affine: bool = False,
        inputs: Sequence[Natural] | None = None,
    ) -> None:
        if degree == 0 and not bias and frequencies == 0 and not control_affine:
            raise ConfigError("Library: expected a term, got degree 0 without bias or frequencies; raise one.")
        if inputs is not None and (len(set(inputs)) < len(inputs) or not inputs):
            raise ConfigError(f"Library(inputs=…): expected one or more places, each once, got {list(inputs)}; name others.")
        self.degree, self.interactions, self.bias = degree, interactions, bias
        self.frequencies, self.period = frequencies, period
        self.control_affine = control_affine
        self.inputs = None if inputs is None else tuple(inputs)

    def terms(self, states: int, controls: int, waves: list[tuple[int, float]]) -> list[tuple[int, ...]]:
        """The factors of each term, in order; new `waves` (input, angular frequency) are added to the list.

        Args:
            states: `S`, the first inputs.
            controls: `A`, those behind them.
            waves: those that are known so far.

        Raises:
            ConfigError: if it names an input that there isn't, or no control to be affine in.
        """
        size = states + controls
        places = tuple(range(size)) if self.inputs is None else self.inputs
        if max(places) >= size:
            raise ConfigError(
                f"Library(inputs=…): expected places from 0 to {size - 1}, of {states} states and {controls} controls, got "
                f"{max(places)}; count from 0, states first."
            )
        pushed = [place for place in places if place >= states] if self.control_affine else []
        if self.control_affine and not pushed:
            raise ConfigError(
                f"Library(control_affine=True): expected a control among its inputs, got {list(places)} of {states} states; "
                "name one, or leave control_affine out."
            )
        own = [place for place in places if place not in pushed]
        found: list[tuple[int, ...]] = [()] if self.bias else []
        features = self._monomials(own)
        for number in range(1, self.frequencies + 1):
            for place in own:
                wave = (place, 2 * math.pi * number / self.period)
                if wave not in waves:
                    waves.append(wave)
                at = size + 2 * waves.index(wave)
                features += [(at,), (at + 1,)]
        found += features
        found += [(place,) for place in pushed]
        found += [tuple(sorted((*feature, place))) for feature in features for place in pushed]
        return found

    def _monomials(self, places: Sequence[int]) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for degree in range(1, self.degree + 1):
            if self.interactions:
                found += combinations_with_replacement(places, degree)
            else:
                found += [(place,) * degree for place in places]
        return found


@dataclass(frozen=True)
class Terms:
    """The terms of a library for given inputs.

    Attributes:
        states: `S`, the first inputs.
        controls: `A`, those behind them.
        waves: input and angular frequency of each pair of a sine and a cosine.
        factors: of each of the `p` terms: an input's place below `d`, or `d + 2w` and `d + 2w + 1` for the sine and the
            cosine of wave w; none for the constant.
    """

    states: int
    controls: int
    waves: tuple[tuple[int, float], ...]
    factors: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.factors)

    @property
    def inputs(self) -> int:
        """`d`."""
        return self.states + self.controls

    def names(self, inputs: Sequence[str] | None = None) -> list[str]:
        """Names of the terms, such as `x0^2 u0`.

        Args:
            inputs: names of the `d` inputs; None for x0, x1, … and u0, u1, ….
        """
        called = list(inputs or [f"x{i}" for i in range(self.states)] + [f"u{i}" for i in range(self.controls)])
        for place, rate in self.waves:
            of = called[place] if rate == 1 else f"{rate:.6g} {called[place]}"
            called += [f"sin({of})", f"cos({of})"]

        def product(factors: tuple[int, ...]) -> str:
            powers = [(called[factor], factors.count(factor)) for factor in dict.fromkeys(factors)]
            return " ".join(name if power == 1 else f"{name}^{power}" for name, power in powers) or "1"

        return [product(factors) for factors in self.factors]


def terms_of(library: Library | Sequence[Library], states: int, controls: int) -> Terms:
    """The terms of a library, or of several one after the other, each term once.

    Args:
        library: plain data.
        states: `S`.
        controls: `A`.
    """
    waves: list[tuple[int, float]] = []
    found: list[tuple[int, ...]] = []
    for block in [library] if isinstance(library, Library) else library:
        found += block.terms(states, controls, waves)
    return Terms(states, controls, tuple(waves), tuple(dict.fromkeys(found)))
