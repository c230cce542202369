"""No library code draws from a global generator: every draw names the generator it takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mbrl"

# Functions that draw globally unless told `generator=`.
_TORCH = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "poisson"}
_IN_PLACE = {
    "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "geometric_", "log_normal_",
    "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "orthogonal_",
    "multinomial", "bernoulli",
}  # fmt: skip
# Functions that draw globally whatever they are told.
_TORCH_ALWAYS = {"rand_like", "randn_like", "randint_like", "manual_seed", "seed", "dropout", "rrelu", "gumbel_softmax"}
_NN_LAYERS = {
    "Linear",
    "LazyLinear",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Embedding",
    "Dropout",
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
}
_NUMPY_FINE = {"Generator", "SeedSequence", "PCG64", "BitGenerator", "get_state"}  # looking draws nothing


def dotted(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


def global_draws(source: str) -> list[str]:
    """The calls in `source` that draw from, or seed, a generator that nobody passed in."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random", "torch.distributions"):
            found.append(f"line {node.lineno}: imports from {node.module}, whose draws are global")
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        first, last = name.split(".")[0], name.split(".")[-1]
        told = any(
            keyword.arg == "generator" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
            for keyword in node.keywords
        )
        seeded = bool(node.args or node.keywords)
        bad = (
            (first == "torch" and last in _TORCH and not told)
            or (isinstance(node.func, ast.Attribute) and last in _IN_PLACE and first not in ("np", "numpy") and not told)
            or (first in ("torch", "F", "functional", "nn") and last in _TORCH_ALWAYS)
            or (first in ("torch", "nn") and last in _NN_LAYERS)
            or (first in ("torch", "distributions") and ".distributions." in f".{name}.")  # a search space has some too
            or (name.startswith(("np.random.", "numpy.random.")) and last not in _NUMPY_FINE | {"default_rng"})
            or (last == "default_rng" and not seeded)
            or (first == "random" and "." in name and last != "getstate" and not (last == "Random" and seeded))
        )
        if bad:
            found.append(f"line {node.lineno}: {name}(…) draws from a global generator")
    return found


def test_library_names_its_generators() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += [f"{path.relative_to(PACKAGE.parent)} {message}" for message in global_draws(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "torch.randn(3)",
        "torch.randn(3, generator=None)",
        "torch.randperm(n, device=d)",
        "x.normal_()",
        "self.weight.data.uniform_(-1, 1)",
        "nn.init.xavier_uniform_(w)",
        "torch.randn_like(x)",
        "torch.manual_seed(0)",
        "nn.Linear(3, 4)",
        "p.multinomial(1)",
        "torch.distributions.Normal(0, 1).sample()",
        "from torch.distributions import Normal",
        "np.random.rand(3)",
        "np.random.seed(0)",
        "np.random.default_rng()",
        "random.random()",
        "random.Random()",
        "from random import choice",
        "torch.nn.functional.dropout(x)",
    ],
)
def test_a_global_draw_is_seen(source: str) -> None:
    assert global_draws(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.randn(3, generator=g)",
        "x.normal_(generator=g)",
        "nn.init.xavier_uniform_(w, generator=g)",
        "np.random.default_rng(seed)",
        "rng.normal(size=3)",
        "random.Random(3).random()",
        "torch.normal(0.0, 1.0, (3,), generator=g)",
        "nn.ReLU()",
        "space.distributions.items()",
    ],
)
def test_a_passed_generator_is_let_through(source: str) -> None:
    assert not global_draws(source)
