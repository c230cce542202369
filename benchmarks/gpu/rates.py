"""Updates a second of SAC and the ensemble, and their shares of the rate of one large product in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.gpu.section import Row, Setting
from benchmarks.speed import cases
from benchmarks.speed.machine import has_bf16
from benchmarks.speed.rounds import Case, measure, share_of_limit

ROUNDS, ROUND_SECONDS = 5, 1.0
SEEDS = (1, 4, 10)  # whose members are fitted side by side, as one ensemble of so many times 7
_PRODUCT = "matmul fp32"


def rates(setting: Setting) -> Iterator[Row]:
    """The cases of `benchmarks.speed` that don't need the CPU, and ensembles as wide as those of several seeds."""
    known, device = cases.task(), setting.device
    makers: list[tuple[str, Callable[[], Case]]] = [
        (_PRODUCT, partial(cases.matmul, "fp32", device)),
        ("SAC update fp32", partial(cases.sac_update, known, device)),
    ]
    for seeds in SEEDS if setting.measures else SEEDS[:1]:
        made = partial(cases.ensemble_update, known, device, members=seeds * cases.MEMBERS)
        makers.append((f"ensemble update fp32, members of {seeds} seeds", made))
    if has_bf16(device):
        makers += [
            ("matmul bf16", partial(cases.matmul, "bf16", device)),
            ("SAC update bf16", partial(cases.sac_update, known, device, "bf16")),
            ("ensemble update bf16", partial(cases.ensemble_update, known, device, "bf16")),
        ]
    pieces: dict[str, Case] = {}

    def made_once(name: str, make: Callable[[], Case]) -> Case:
        pieces[name] = make()
        return pieces[name]

    for name, make in makers:
        # what can't be made says why; the others are timed together below
        row = setting.row(name, "updates/s", partial(made_once, name, make), lambda piece: Row(piece.name, ""))
        if row.value:
            yield row
    if not setting.measures or _PRODUCT not in pieces:
        return
    measure(list(pieces.values()), ROUNDS, ROUND_SECONDS, setting.device)
    for name, piece in pieces.items():
        share = share_of_limit(piece, pieces[_PRODUCT])
        yield Row(name, piece.rate, f"{piece.unit} a second, {share:.3f} of the fp32 product's rate")
