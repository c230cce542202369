"""Streams: equal parts give equal draws, a row's numbers don't depend on which other rows live."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import (
    InterleavedGenerator,
    RowGenerator,
    Streams,
    default_draws,
    derived_seed,
    draw_balanced,
    draw_normal,
    make_generator,
)
from mbrl.errors import ConfigError, ShapeError


def test_derived_seed_is_the_same_everywhere() -> None:
    assert derived_seed(0, "policy") == derived_seed(0, "policy")
    assert derived_seed(0, "policy") == 657186166250925439  # a change would change every run
    assert derived_seed(0, "policy") != derived_seed(1, "policy")
    assert 0 <= derived_seed("x") < 2**63


def test_streams_are_independent_of_each_other_and_of_order() -> None:
    first, second = Streams(3), Streams(3)
    torch.rand(5, generator=first["a"])
    assert torch.equal(torch.rand(4, generator=first["b"]), torch.rand(4, generator=second["b"]))
    assert not torch.equal(torch.rand(4, generator=Streams(3)["a"]), torch.rand(4, generator=Streams(4)["a"]))


COLLIDING = ("stream 32887", "stream 74912")  # their seeds differ in the upper bits alone, which no generator on a CPU takes


def test_streams_never_draw_the_same() -> None:
    plain = [make_generator("cpu", 3, name) for name in COLLIDING]
    assert plain[0].initial_seed() != plain[1].initial_seed()
    assert torch.equal(*(torch.rand(4, generator=generator) for generator in plain))  # what the streams mustn't do
    streams = Streams(3)
    first, second = (torch.rand(4, generator=streams[name]) for name in COLLIDING)
    assert torch.equal(first, torch.rand(4, generator=make_generator("cpu", 3, COLLIDING[0])))  # the first one's stays
    assert not torch.equal(first, second)
    resumed = Streams(3)
    resumed.load_state_dict(streams.state_dict())
    for name in COLLIDING:
        assert torch.equal(torch.rand(4, generator=resumed[name]), torch.rand(4, generator=streams[name]))


def test_a_collision_with_a_loaded_stream_is_found_too() -> None:
    streams = Streams(3)
    torch.rand(4, generator=streams[COLLIDING[0]])
    resumed = Streams(3)
    resumed.load_state_dict(streams.state_dict())
    drawn = [torch.rand(4, generator=each[COLLIDING[1]]) for each in (streams, resumed)]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], torch.rand(4, generator=Streams(3)[COLLIDING[0]]))


def test_a_name_that_could_be_two_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"without '/', which joins a seed's parts, got 'sac/init'; rename it"):
        Streams(3)["sac/init"]


def test_streams_continue_after_loading() -> None:
    streams = Streams(3)
    torch.rand(5, generator=streams["a"])
    state = streams.state_dict()
    expected = torch.rand(5, generator=streams["a"])
    resumed = Streams(3)
    torch.rand(2, generator=resumed["b"])  # not in the state: starts over
    resumed.load_state_dict(state)
    assert torch.equal(torch.rand(5, generator=resumed["a"]), expected)
    assert torch.equal(torch.rand(2, generator=resumed["b"]), torch.rand(2, generator=Streams(3)["b"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropped_and_masked_rows_draw_the_same(dtype: torch.dtype) -> None:
    like = torch.zeros((), dtype=dtype)
    masked = RowGenerator(make_generator("cpu", 1), 6)
    full = [draw_normal(masked, 6, 2, like) for _ in range(3)]
    dropped = RowGenerator(make_generator("cpu", 1), 6)
    assert torch.equal(draw_normal(dropped, 6, 2, like), full[0])
    dropped = dropped.select(torch.tensor([True, False, True, True, False, True]))  # 0 2 3 5 live
    assert torch.equal(draw_normal(dropped, 4, 2, like), full[1][[0, 2, 3, 5]])
    dropped = dropped.select(torch.tensor([1, 3]))  # 2 5 live
    drawn = draw_normal(dropped, 2, 2, like)
    assert torch.equal(drawn, full[2][[2, 5]])
    assert drawn.dtype is dtype


def test_tiled_rows_draw_the_same_dropped_and_masked() -> None:
    like = torch.zeros(())
    masked = draw_normal(RowGenerator(make_generator("cpu", 1), 4).tile(3), 12, 2, like).view(3, 4, 2)
    alive = RowGenerator(make_generator("cpu", 1), 4).select(torch.tensor([1, 3]))
    dropped = draw_normal(alive.tile(3), 6, 2, like).view(3, 2, 2)
    assert torch.equal(dropped, masked[:, [1, 3]])
    assert len(masked.unique()) == 24  # no copy shares another's numbers


def test_balanced_draw_counts_and_dropped_rows() -> None:
    choices = torch.tensor([4, 0, 6])
    drawn = draw_balanced(make_generator("cpu", 2), 31, choices)
    counts = torch.stack([(drawn == choice).sum() for choice in choices])
    assert int(counts.sum()) == 31
    assert int(counts.max() - counts.min()) <= 1
    rows = RowGenerator(make_generator("cpu", 2), 31).select(torch.tensor([30, 2, 7]))
    assert torch.equal(draw_balanced(rows, 3, choices), drawn[[30, 2, 7]])


def test_balanced_draw_is_uniform_for_each_row() -> None:
    generator = make_generator("cpu", 5)
    draws = torch.stack([draw_balanced(generator, 4, torch.arange(3)) for _ in range(3000)])  # 3000 x 4
    for row in range(4):
        counts = torch.bincount(draws[:, row], minlength=3)
        assert (counts - 1000).abs().max() < 130  # five standard deviations of a fair draw


def test_balanced_draw_of_fewer_rows_than_choices_takes_distinct_ones() -> None:
    drawn = draw_balanced(make_generator("cpu", 2), 3, torch.arange(7))
    assert len(drawn.unique()) == 3


def test_layers_draw_their_default_weights_from_a_seed_and_move_no_global_generator() -> None:
    def layer(seed: int) -> torch.Tensor:
        with default_draws(seed, "init"):
            return torch.nn.Linear(3, 2).weight.detach()

    torch.rand(1)  # wherever the global generator stands
    before = torch.get_rng_state()
    first = layer(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(layer(0), first) and not torch.equal(layer(1), first)


@pytest.mark.parametrize(("particles", "members"), [(20, 5), (7, 3), (2, 5), (1, 4), (5, 5)])
def test_each_plans_particles_ask_every_member_equally_often(particles: int, members: int) -> None:
    drawn = draw_balanced(make_generator("cpu", 3), particles * 12, torch.arange(members), particles).view(particles, 12)
    counts = torch.stack([torch.bincount(drawn[:, plan], minlength=members) for plan in range(12)])  # 12 x members
    assert (counts.amax(1) - counts.amin(1) <= 1).all()
    whole = counts.sum(0)
    assert whole.max() - whole.min() <= 1


def test_a_particles_member_is_uniform_and_plans_differ() -> None:
    generator = make_generator("cpu", 5)
    draws = torch.stack([draw_balanced(generator, 8, torch.arange(3), 4) for _ in range(3000)])  # 3000 x 8
    for row in range(8):
        assert (torch.bincount(draws[:, row], minlength=3) - 1000).abs().max() < 130
    assert not torch.equal(draws.view(-1, 4, 2)[..., 0].sort(1).values, draws.view(-1, 4, 2)[..., 1].sort(1).values)


def test_interleaved_rows_draw_what_each_environment_would_draw_alone() -> None:
    like, choices = torch.zeros(()), torch.arange(5)
    both = InterleavedGenerator([make_generator("cpu", i) for i in range(2)])
    alone = [make_generator("cpu", i) for i in range(2)]
    drawn = draw_normal(both, 12, 3, like).view(6, 2, 3)
    members = draw_balanced(both, 12, choices, 3).view(6, 2)
    for i, generator in enumerate(alone):
        assert torch.equal(drawn[:, i], draw_normal(generator, 6, 3, like))
        assert torch.equal(members[:, i], draw_balanced(generator, 6, choices, 3))


def test_interleaved_rows_drop_as_they_mask() -> None:
    def rows() -> RowGenerator:
        return RowGenerator(InterleavedGenerator([make_generator("cpu", i) for i in range(2)]), 4)

    like = torch.zeros(())
    full = draw_normal(rows().tile(3), 12, 2, like).view(3, 4, 2)
    part = draw_normal(rows().select(torch.tensor([0, 3])).tile(3), 6, 2, like).view(3, 2, 2)
    assert torch.equal(part, full[:, [0, 3]])
    with pytest.raises(ShapeError, match="whole blocks of 2 environments, got 5 rows"):
        draw_normal(InterleavedGenerator([make_generator("cpu", i) for i in range(2)]), 5, 1, like)
