import io

import pytest
import torch

from mbrl.data import ReplayBuffer, Transitions, make_generator, mixed_batch
from mbrl.errors import CheckpointError, ConfigError, DataError, ShapeError
from mbrl.testing.no_sync import NoScalarReadback

S, A = 3, 2


def steps(first, n, episode=None, **extras):
    """Rows that say their own number in every column."""
    number = torch.arange(first, first + n, dtype=torch.float32)
    if episode is not None:
        extras["episode"] = torch.as_tensor(episode).expand(n)
    return Transitions(
        obs=number[:, None] + torch.arange(S) / 8,
        action=(number[:, None] + torch.arange(A)) / 1024,
        reward=-number,
        next_obs=number[:, None] + 1 + torch.arange(S) / 8,
        terminated=number % 2 == 0,
        truncated=number % 3 == 0,
        extras=extras,
    )


def assert_is(rows, numbers):
    numbers = torch.as_tensor(numbers, dtype=torch.int64)
    expected = steps(0, 4096).select(numbers)
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(rows, name), getattr(expected, name)), name
        assert getattr(rows, name).dtype == getattr(expected, name).dtype, name
    assert torch.equal(rows.row, numbers)


@pytest.mark.parametrize("chunks", [[5], [7], [1] * 20, [4, 4, 4], [20], [3, 17, 2], [7, 7, 1]])
def test_ring_keeps_the_newest_rows_in_order(chunks):
    buffer = ReplayBuffer(7, S, A)
    first = 0
    for n in chunks:
        buffer.add(steps(first, n))
        first += n
        kept = min(first, 7)
        assert len(buffer) == kept
        assert buffer.added == first
        assert_is(buffer.all(), range(first - kept, first))
        assert_is(buffer.gather(torch.arange(kept)), range(first - kept, first))


def test_sample_is_uniform_over_the_rows_kept_and_repeats():
    buffer = ReplayBuffer(5, S, A)
    buffer.add(steps(0, 8))
    batch = buffer.sample(5000, make_generator("cpu", 0))
    assert_is(batch, batch.row)
    counts = torch.bincount(batch.row, minlength=8)
    assert counts[:3].sum() == 0
    assert (counts[3:] - 1000).abs().max() < 150  # 5 standard deviations of a fair draw
    assert torch.equal(batch.row, buffer.sample(5000, make_generator("cpu", 0)).row)


def test_batch_is_views_of_one_gather():
    buffer = ReplayBuffer(5, S, A, extras={"sim": 4})
    buffer.add(steps(0, 5, sim=torch.randn(5, 4)))
    batch = buffer.sample(6, make_generator("cpu", 0))
    storage = batch.obs.untyped_storage().data_ptr()
    for tensor in (batch.action, batch.reward, batch.next_obs, batch.extras["sim"]):
        assert tensor.untyped_storage().data_ptr() == storage


def test_all_is_views_until_the_ring_wraps():
    buffer = ReplayBuffer(5, S, A)
    buffer.add(steps(0, 4))
    buffer.all().reward.fill_(1.0)
    assert torch.equal(buffer.all().reward, torch.ones(4))


def test_float64_rows_and_extras_are_kept_as_float32():
    buffer = ReplayBuffer(4, S, A, extras={"previous": 2}, store_episodes=True)
    rows = steps(0, 6, episode=3, previous=torch.arange(12.0, dtype=torch.float64).view(6, 2))
    rows.obs = rows.obs.double()
    buffer.add(rows)
    assert_is(buffer.all(), range(2, 6))
    assert torch.equal(buffer.all().extras["previous"], torch.arange(4.0, 12).view(4, 2))
    batch = buffer.sample(3, make_generator("cpu", 1))
    assert torch.equal(batch.extras["previous"][:, 0], 2.0 * batch.row)
    assert batch.extras["episode"].tolist() == [3, 3, 3]


# windows -------------------------------------------------------------------------------------------------------------


def interleaved(ticks, envs, end):
    """Rows of `envs` environments stepped together, whose episodes end every `end(env)` ticks; numbered as counted."""
    count = envs
    current = list(range(envs))
    age = [0] * envs
    rows = []
    for tick in range(ticks):
        rows.append(steps(tick * envs, envs, torch.tensor(current)))
        for env in range(envs):
            age[env] += 1
            if age[env] == end(env):
                current[env], age[env], count = count, 0, count + 1
    return rows


@pytest.mark.parametrize("capacity", [1000, 61])
@pytest.mark.parametrize("envs", [1, 4])
def test_windows_are_steps_in_a_row_of_one_episode(envs, capacity):
    buffer = ReplayBuffer(capacity, S, A, store_episodes=True)
    for rows in interleaved(60, envs, lambda env: 4 + env):
        buffer.add(rows)
    windows = buffer.sample_windows(500, 3, make_generator("cpu", 0))
    assert windows.obs.shape == (500, 3, S)
    assert windows.reward.shape == windows.row.shape == (500, 3)
    episode = windows.extras["episode"]
    assert (episode == episode[:, :1]).all()
    assert (windows.row.diff(dim=1) == envs).all()
    # every window that exists is drawn, counted here the slow way
    kept = buffer.all()
    by_row = dict(zip(kept.row.tolist(), kept.extras["episode"].tolist(), strict=True))
    exist = {row for row, number in by_row.items() if all(by_row.get(row + k * envs) == number for k in (1, 2))}
    drawn = set(buffer.sample_windows(20 * len(exist), 3, make_generator("cpu", 1)).row[:, 0].tolist())
    assert drawn == exist


def test_windows_see_rows_added_since():
    buffer = ReplayBuffer(100, S, A, store_episodes=True)
    buffer.add(steps(0, 3, 0))
    buffer.sample_windows(1, 3, make_generator("cpu", 0))
    buffer.add(steps(3, 3, 1))
    rows = buffer.sample_windows(50, 3, make_generator("cpu", 0)).row[:, 0]
    assert set(rows.tolist()) == {0, 3}


@pytest.mark.parametrize(("envs", "capacity"), [(1, 100), (3, 100), (2, 31)])
def test_cut_windows_begin_at_every_row_and_repeat_the_last_of_an_episode(envs, capacity):
    buffer = ReplayBuffer(capacity, S, A, store_episodes=True)
    for rows in interleaved(60, envs, lambda env: 4 + env):
        buffer.add(rows)
    kept = buffer.all()
    by_row = dict(zip(kept.row.tolist(), kept.extras["episode"].tolist(), strict=True))
    windows, places = buffer.sample_cut_windows(20 * len(by_row), 3, make_generator("cpu", 1))
    assert windows.obs.shape == (20 * len(by_row), 3, S) and places.shape == windows.row.shape
    assert set(windows.row[:, 0].tolist()) == set(by_row)
    for first, rows, at in zip(windows.row[:, 0].tolist(), windows.row.tolist(), places.tolist(), strict=True):
        follow = [k for k in range(3) if by_row.get(first + k * envs) == by_row[first]]
        expected = [min(k, len(follow) - 1) for k in range(3)]
        assert at == expected and rows == [first + k * envs for k in expected]
    newest = buffer.sample_cut_windows(500, 3, make_generator("cpu", 1), newest=17)[0].row[:, 0]
    assert set(newest.tolist()) == set(range(60 * envs - 17, 60 * envs))


def test_window_errors():
    with pytest.raises(ConfigError, match="store_episodes=True"):
        ReplayBuffer(5, S, A).sample_windows(1, 2, make_generator("cpu", 0))
    buffer = ReplayBuffer(10, S, A, store_episodes=True)
    buffer.add(steps(0, 3, 0))
    buffer.add(steps(3, 3, 1))
    with pytest.raises(DataError, match="an episode of 4 steps or more"):
        buffer.sample_windows(1, 4, make_generator("cpu", 0))
    with pytest.raises(DataError, match="an episode of 40 steps or more"):
        buffer.sample_windows(1, 40, make_generator("cpu", 0))


# mixing --------------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-27")
def test_mixed_batch_of_real_and_model_rows():
    real, model = ReplayBuffer(100, S, A, store_episodes=True), ReplayBuffer(1000, S, A)
    real.add(steps(0, 50, 0))
    model.add(steps(1000, 900))
    n_real = int(0.05 * 256)
    assert n_real == 12
    batch = mixed_batch([(real, n_real), (model, 256 - n_real)], make_generator("cpu", 0))
    assert len(batch) == 256
    numbers = -batch.reward
    assert (numbers[:12] < 50).all()
    assert (numbers[12:] >= 1000).all()
    assert len(numbers[12:]) == 244
    batch.row = numbers.long()
    assert_is(batch, numbers.long())
    assert batch.obs.untyped_storage().data_ptr() == batch.next_obs.untyped_storage().data_ptr()


@pytest.mark.check("coplanner-27")
def test_ratio_one_needs_no_model_buffer_and_zero_no_real():
    full, empty = ReplayBuffer(100, S, A), ReplayBuffer(100, S, A)
    full.add(steps(0, 50))
    for parts in ([(full, 256), (empty, 0)], [(empty, 0), (full, 256)], [(full, 256)]):
        batch = mixed_batch(parts, make_generator("cpu", 0))
        assert len(batch) == 256
        assert_is(batch, batch.row)


def test_mixed_batch_keeps_extras_that_all_share():
    with_extra, without = ReplayBuffer(9, S, A, extras={"x": 1}), ReplayBuffer(9, S, A)
    with_extra.add(steps(0, 4, x=torch.arange(4.0).view(4, 1)))
    without.add(steps(4, 4))
    generator = make_generator("cpu", 0)
    both = mixed_batch([(with_extra, 3), (with_extra, 2)], generator)
    assert torch.equal(both.extras["x"][:, 0], -both.reward)
    batch = mixed_batch([(with_extra, 3), (without, 2)], generator)
    assert batch.extras == {}
    batch.row = -batch.reward.long()
    assert_is(batch, batch.row)


def test_mixed_batch_errors():
    buffer, other = ReplayBuffer(9, S, A), ReplayBuffer(9, S + 1, A)
    buffer.add(steps(0, 4))
    with pytest.raises(ConfigError, match="positive number of rows"):
        mixed_batch([(buffer, 0)], make_generator("cpu", 0))
    with pytest.raises(ShapeError, match=r"of one task, got \(S, A\) = \(4, 2\) and \(3, 2\)"):
        mixed_batch([(buffer, 1), (other, 1)], make_generator("cpu", 0))
    with pytest.raises(DataError, match="empty buffer"):
        mixed_batch([(buffer, 1), (ReplayBuffer(9, S, A), 1)], make_generator("cpu", 0))


# size and state ------------------------------------------------------------------------------------------------------


@pytest.mark.check("coplanner-26")
@pytest.mark.parametrize("added", [0, 3, 5, 8])
def test_growing_keeps_every_row(added):
    buffer = ReplayBuffer(5, S, A, store_episodes=True)
    buffer.add(steps(0, added, 7))
    kept = range(max(added - 5, 0), added)
    buffer.resize(12)
    assert_is(buffer.all(), kept)
    assert buffer.all().extras["episode"].tolist() == [7] * len(kept)
    buffer.add(steps(added, 9, 8))
    assert_is(buffer.all(), range(max(added + 9 - 12, kept.start), added + 9))


@pytest.mark.parametrize("added", [2, 3, 5, 8])
def test_shrinking_keeps_the_newest(added):
    buffer = ReplayBuffer(5, S, A)
    buffer.add(steps(0, added))
    buffer.resize(3)
    assert_is(buffer.all(), range(max(added - 3, 0), added))
    buffer.add(steps(added, 2))
    assert_is(buffer.all(), range(max(added - 1, 0), added + 2))


@pytest.mark.parametrize("added", [0, 3, 5, 8])
def test_state_continues_bit_for_bit(added):
    buffer = ReplayBuffer(5, S, A, extras={"x": 1}, store_episodes=True)
    buffer.add(steps(0, added, 2, x=torch.randn(added, 1)))
    file = io.BytesIO()
    torch.save(buffer.state_dict(), file)
    file.seek(0)
    other = ReplayBuffer(1, S, A, extras={"x": 1}, store_episodes=True)
    other.load_state_dict(torch.load(file, weights_only=True))
    rows = steps(added, 4, 3, x=torch.randn(4, 1))
    for each in (buffer, other):
        each.add(rows)
    left, right = (each.sample(20, make_generator("cpu", 0)) for each in (buffer, other))
    assert torch.equal(left.row, right.row)
    assert torch.equal(left.obs, right.obs)
    assert torch.equal(left.extras["x"], right.extras["x"])
    assert torch.equal(left.extras["episode"], right.extras["episode"])
    assert other.added == buffer.added


def test_state_holds_the_filled_rows_only_and_not_the_buffer_itself():
    buffer = ReplayBuffer(1_000_000, S, A)
    buffer.add(steps(0, 10))
    file = io.BytesIO()
    torch.save(buffer.state_dict(), file)
    assert file.tell() < 5000
    other = ReplayBuffer(1_000_000, S, A)
    state = buffer.state_dict()
    other.load_state_dict(state)
    state["matrix"].zero_()
    assert_is(other.all(), range(10))
    assert_is(buffer.all(), range(10))


def test_state_of_other_columns_is_refused():
    state = ReplayBuffer(5, S, A, store_episodes=True).state_dict()
    with pytest.raises(CheckpointError, match=r"\(11, False\), got \(11, True\)"):
        ReplayBuffer(5, S, A).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"\(12, True\), got \(11, True\)"):
        ReplayBuffer(5, S, A + 1, store_episodes=True).load_state_dict(state)


def test_bytes_are_those_that_the_rows_need():
    buffer = ReplayBuffer(400_000, 11, 3)
    assert buffer.row_nbytes == (2 * 11 + 3 + 3) * 4
    assert buffer.nbytes == 0
    real = ReplayBuffer(10, S, A, store_episodes=True)
    real.add(steps(0, 4, 0))
    assert real.nbytes == 4 * (11 * 4 + 8)


def test_errors_of_sizes():
    with pytest.raises(ConfigError, match=r"\(capacity=…\): expected a whole number of at least 1, got 0"):
        ReplayBuffer(0, S, A)
    buffer = ReplayBuffer(5, S, A, extras={"x": 1}, store_episodes=True)
    with pytest.raises(ConfigError, match=r"\(capacity=…\): expected a whole number of at least 1, got -2"):
        buffer.resize(-2)
    with pytest.raises(DataError, match=r"extras\['x'\] of width 1, got \['episode'\]"):
        buffer.add(steps(0, 2, 0))
    with pytest.raises(DataError, match=r"extras\['episode'\], got none"):
        buffer.add(steps(0, 2, x=torch.zeros(2, 1)))
    with pytest.raises(ShapeError, match=r"\(x\): expected shape 2 x 1, got 2 x 3"):
        buffer.add(steps(0, 2, 0, x=torch.zeros(2, 3)))
    wrong = steps(0, 2, 0, x=torch.zeros(2, 1))
    wrong.action = wrong.action[:, :1]
    with pytest.raises(ShapeError, match=r"\(action\): expected shape 2 x 2, got 2 x 1"):
        buffer.add(wrong)
    assert len(buffer) == buffer.added == 0


# speed ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_read_back_to_the_host():
    real, model = ReplayBuffer(20, S, A, store_episodes=True), ReplayBuffer(8, S, A)
    generator = make_generator("cpu", 0)
    rows = steps(0, 6, 0)
    with NoScalarReadback():
        for _ in range(4):
            real.add(rows)
            model.add(rows)
        real.sample(5, generator)
        real.all()
        mixed_batch([(real, 5), (model, 5)], generator)
        model.resize(20)


def test_works_without_values():
    buffer = ReplayBuffer(8, S, A, device="meta", store_episodes=True)
    rows = steps(0, 6, 0).to("meta")
    buffer.add(rows)
    buffer.add(rows)
    assert buffer.all().obs.shape == (8, S)
    assert buffer.gather(torch.empty(4, 5, dtype=torch.int64, device="meta")).next_obs.shape == (4, 5, S)


def any_bits(*shape):
    """Float64 numbers of random bits, whose halves as float32 are every kind of NaN, infinity and denormal too."""
    bits = torch.randint(-(2**63), 2**63 - 1, shape, generator=make_generator("cpu", "bits"))
    return torch.where(bits.view(torch.float64).isfinite(), bits, torch.full_like(bits, 7)).view(torch.float64)


@pytest.mark.parametrize("obs_size", [3, 4])  # an odd and an even number of columns before them
def test_float64_extras_are_kept_bit_for_bit(obs_size):
    bits = any_bits(20, 5)
    assert (bits != bits.float().double()).any()  # a float32 would not do

    def buffer():
        extras = {"sim_state": 5, "previous": 2}
        return ReplayBuffer(9, obs_size, A, extras=extras, float64=("sim_state",), store_episodes=True)

    def rows(first, last):
        numbers = steps(first, last - first)
        obs = numbers.reward[:, None].expand(-1, obs_size)
        extras = {"episode": torch.arange(first, last) // 4, "sim_state": bits[first:last], "previous": numbers.action}
        return Transitions(obs, numbers.action, numbers.reward, obs, numbers.terminated, numbers.truncated, None, extras)

    def assert_bits(found):
        sim_state = found.extras["sim_state"]
        assert sim_state.dtype is torch.float64
        assert torch.equal(sim_state.contiguous().view(torch.int64), bits[found.row].view(torch.int64))
        assert torch.equal(
            found.extras["previous"], steps(0, 20).select(found.row.reshape(-1)).action.view(*found.row.shape, A)
        )
        assert torch.equal(found.reward, -found.row.float())

    kept = buffer()
    for first, last in ((0, 4), (4, 8), (8, 14)):  # filling, then over the seam
        kept.add(rows(first, last))
        assert_bits(kept.all())
    assert_bits(kept.sample(50, make_generator("cpu", 0)))
    assert_bits(kept.sample_windows(6, 2, make_generator("cpu", 0)))
    other = buffer()
    other.add(rows(0, 7))
    batch = mixed_batch([(kept, 5), (other, 5)], make_generator("cpu", 0))
    numbers = -batch.reward.long()
    assert torch.equal(batch.extras["sim_state"], bits[numbers])

    file = io.BytesIO()
    torch.save(kept.state_dict(), file)
    file.seek(0)
    restored = buffer()
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert_bits(restored.all())
    for capacity in (12, 6):
        restored.resize(capacity)
        restored.add(rows(14, 16) if capacity == 12 else rows(16, 17))
        assert_bits(restored.all())
    assert_bits(restored.to("cpu").all())
    # memory: 2S + A + 3 + 2 float32, 5 float64, one column of padding where that is odd, and the episode
    single = 2 * obs_size + A + 3 + 2
    assert kept.row_nbytes == 4 * (single + single % 2) + 8 * 5 + 8


def test_a_float64_extra_must_be_an_extra():
    with pytest.raises(ConfigError, match=r"float64 among extras \['x'\], got \['y'\]"):
        ReplayBuffer(5, S, A, extras={"x": 1}, float64=("y",))


def test_layouts_that_differ_in_precision_alone_are_different():
    single, double = ReplayBuffer(9, S, A, extras={"x": 2}), ReplayBuffer(9, S, A, extras={"x": 1}, float64=("x",))
    single.add(steps(0, 4, x=torch.zeros(4, 2)))
    double.add(steps(0, 4, x=torch.zeros(4, 1)))
    assert mixed_batch([(single, 3), (double, 3)], make_generator("cpu", 0)).extras == {}


def test_mixed_batch_fills_extras_that_a_buffer_lacks_and_keeps_those_that_all_have() -> None:
    generator = make_generator("cpu", 0)
    sizes = {"number": 1, "pair": 2, "only": 3}
    plain, numbered = (
        ReplayBuffer(9, S, A, extras=extras, float64=("only",) if "only" in extras else ())
        for extras in ({"pair": 2, "only": 3}, {"number": 1, "pair": 2})
    )
    for buffer in (plain, numbered):
        extras = {name: torch.rand(9, sizes[name], generator=generator).double() for name in buffer.layout.extras}
        rows = Transitions.from_obs(torch.rand(9, S, generator=generator), A, **extras)
        buffer.add(rows)
    shares = [(plain, 5), (numbered, 7)]
    bare = mixed_batch(shares, make_generator("cpu", 1))
    batch = mixed_batch(shares, make_generator("cpu", 1), {"number": -1.0, "nobodys": 7.0})
    assert set(bare.extras) == {"pair"} and set(batch.extras) == {"pair", "number", "nobodys"}
    assert torch.equal(bare.obs, batch.obs) and torch.equal(bare.extras["pair"], batch.extras["pair"])
    assert batch.extras["number"][:5].eq(-1).all() and batch.extras["nobodys"].eq(7).all()
    kept = [buffer.all() for buffer in (plain, numbered)]
    for i in range(12):
        rows = kept[i >= 5]
        (place,) = (rows.obs == batch.obs[i]).all(-1).nonzero()[:, 0].tolist()
        assert torch.equal(batch.extras["pair"][i], rows.extras["pair"][place])
        assert i < 5 or torch.equal(batch.extras["number"][i], rows.extras["number"][place])
    alone = mixed_batch([(plain, 4), (numbered, 0)], make_generator("cpu", 1), {"number": -1.0})
    assert set(alone.extras) == {"pair", "only", "number"} and alone.extras["number"].eq(-1).all() and alone.row is not None


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": None}, {"matrix": torch.zeros(3)}, {"matrix": torch.zeros(99, 11)}, {"capacity": "many"}, {"next": -1},
        {"next": 8}, {"added": None}, {"episode": 3},
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(change) -> None:
    buffer = ReplayBuffer(8, 3, 2)
    state = buffer.state_dict()
    with pytest.raises(CheckpointError, match=r"^ReplayBuffer: expected .*, got .*; load one that state_dict made"):
        buffer.load_state_dict({**state, **change})
    del state["added"]
    with pytest.raises(CheckpointError, match="got none"):
        buffer.load_state_dict(state)


@pytest.mark.parametrize("added", [4, 7, 12])  # part of the ring, all of it, and past its seam
@pytest.mark.parametrize("n", [0, 1, 3, 7, 9])
def test_the_newest_rows_are_kept_in_their_order_and_the_ring_goes_on(added, n):
    buffer = ReplayBuffer(7, S, A, store_episodes=True)
    buffer.add(steps(0, added, episode=2))
    kept = min(n, len(buffer))
    buffer.keep_newest(n)
    assert_is(buffer.all(), range(added - kept, added))
    assert (len(buffer), buffer.capacity, buffer.added) == (kept, 7, added)
    assert buffer.all().extras["episode"].tolist() == [2] * kept
    buffer.add(steps(added, 5, episode=3))
    assert_is(buffer.all(), range(added + 5 - min(kept + 5, 7), added + 5))
    assert buffer.all().extras["episode"].tolist() == ([2] * kept + [3] * 5)[-7:]


def test_weighted_rows_are_not_forgotten_and_a_state_brings_no_weights():
    buffer = ReplayBuffer(5, S, A)
    buffer.add(steps(0, 5))
    state = buffer.state_dict()
    buffer.weigh(torch.tensor([0.0, 0, 1, 0, 0]))
    assert set(buffer.sample(50, make_generator("cpu", 0)).row.tolist()) == {2}
    with pytest.raises(DataError, match="keep_newest: expected rows without weights"):
        buffer.keep_newest(2)
    buffer.load_state_dict(state)
    assert set(buffer.sample(200, make_generator("cpu", 0)).row.tolist()) == set(range(5))


def test_a_row_without_weight_is_not_drawn_by_the_smallest_number_either(monkeypatch):
    buffer = ReplayBuffer(4, S, A)
    buffer.add(steps(0, 4))
    buffer.weigh(torch.tensor([0.0, 1, 0, 1]))
    monkeypatch.setattr(torch, "rand", lambda n, **options: torch.tensor([0.0, 0.5], dtype=torch.float64))
    assert buffer.sample(2, make_generator("cpu", 0)).row.tolist() == [1, 3]
