"""`exact_arithmetic`: the settings under which gpytorch computes here, whatever the process has done to its globals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

JITTER = 1e-8  # added to a diagonal whose matrix has no Cholesky factor, ten times more at each further try
TRIES = 4


@contextmanager
def exact_arithmetic(rows: int) -> Iterator[None]:
    """Has gpytorch compute by Cholesky factors of any size, in this block and nowhere else.

    Above 800 rows it would turn to conjugate gradients, with errors of several percent, unless botorch was imported, which
    rewrites the same globals. Everything that changes a number is set here; nothing stays set afterwards.

    Args:
        rows: of the largest matrix.
    """
    from gpytorch import settings

    with ExitStack() as stack:
        for chosen in (
            settings.max_cholesky_size(rows + 1),
            settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False),
            settings.fast_pred_var(False),
            settings.fast_pred_samples(False),
            settings.cholesky_jitter(double_value=JITTER),
            settings.cholesky_max_tries(TRIES),
            settings.max_eager_kernel_size(rows + 1),
            settings.lazily_evaluate_kernels(True),
            settings.memory_efficient(False),
            settings.observation_nan_policy("ignore"),
            settings.debug(False),
        ):
            stack.enter_context(chosen)
        yield
