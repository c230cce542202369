import pytest
import torch

from mbrl.testing.no_sync import NoScalarReadback, ReadbackError


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t[0].item(),
        lambda t: bool(t[0] > 0),
        lambda t: float(t[0]),
        lambda t: int(t[0]),
        lambda t: t.tolist(),
        lambda t: t.numpy(),
        lambda t: t.cpu(),
        lambda t: 1 if t.sum() > 0 else 0,
    ],
)
def test_reading_a_value_back_raises(read):
    tensor = torch.ones(3)
    with NoScalarReadback(value_sized=False), pytest.raises(ReadbackError, match="read back to the host"):
        read(tensor)
    read(tensor)  # and outside the context all is as before


def set_masked(tensor):
    tensor[tensor > 0] = torch.zeros(3)


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t.nonzero(),
        lambda t: t[t > 0],
        lambda t: t.masked_select(t > 0),
        lambda t: t.unique(),
        lambda t: t.unique_consecutive(),
        lambda t: t.long().bincount(),
        set_masked,
    ],
)
def test_value_sized_results_raise_unless_allowed(use):
    with NoScalarReadback(), pytest.raises(ReadbackError, match="depends on values"):
        use(torch.ones(3))
    with NoScalarReadback(value_sized=False):
        use(torch.ones(3))


def test_ordinary_work_with_gradients_passes():
    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    before = layer.weight.detach().clone()
    with NoScalarReadback():
        layer(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
    assert not torch.equal(before, layer.weight)
