"""Forwards as people write them: kept exactly, exact under the group, the same after to_plain; or refused."""

import pytest
import torch
from torch import nn

from sepgconv.analysis import cost
from sepgconv.convert import equivariant, to_plain
from sepgconv.testing import assert_equivariant
from tests.convert.foreign_forwards import CONVERTED, REFUSED, UNet
from tests.covering import each

SHAPE = (3, 9, 9)


def stir(model):
    """Give all parameters and statistics values of their own."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point() and not name.endswith("running_var") and tensor.requires_grad:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return model.eval()


def take_over(rebuilt, model):
    """Give a network on the trivial group the weights of the one that it was rebuilt from."""
    theirs = model.state_dict()

    def found(name):
        if name in theirs:
            return theirs[name]
        *front, _, last = name.split(".")  # layers of a call may stand one deeper, those of torch in a layer around
        around = ".".join([*front, last])
        return theirs[around if around in theirs else name.rpartition(".")[0]]

    values = rebuilt.state_dict().items()
    own = {name: found(name).reshape(value.shape) for name, value in values if not name.endswith("kernel")}
    rebuilt.load_state_dict(own, strict=False)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CONVERTED)
def test_itself_on_the_trivial_group_and_exact_within_the_budget_and_plain_on_another(name):
    torch.manual_seed(0)
    model, x = stir(CONVERTED[name]()), torch.randn(2, *SHAPE)
    same = equivariant(model, "p1", input_shape=SHAPE)
    take_over(same, model)  # the oracle of what a rebuilt forward computes: with one element, nothing may change
    torch.testing.assert_close(same(x), model(x), rtol=1e-9, atol=1e-9)
    rebuilt = equivariant(model, "p4", sharing="gc", input_shape=SHAPE)
    stir(rebuilt)
    assert rebuilt(x).shape == model(x).shape
    assert (rebuilt(x[:1]) - rebuilt(x[1:])).abs().max() > 1e-6
    assert_equivariant(rebuilt, "p4", x)
    assert cost(rebuilt, SHAPE).parameters <= cost(model, SHAPE).parameters
    torch.testing.assert_close(to_plain(rebuilt, input_shape=SHAPE)(x), rebuilt(x), rtol=1e-9, atol=1e-9)
    rebuilt.train()(torch.randn(3, *SHAPE)).square().sum().backward()
    assert all(p.grad is not None for p in rebuilt.parameters() if p.requires_grad)


@pytest.mark.usefixtures("float64")
def test_a_u_net_with_padded_resized_and_cropped_skips():
    shape, model = (3, 12, 12), UNet().eval()
    rebuilt = stir(equivariant(model, "p4m", sharing="gc", input_shape=shape))
    x = torch.randn(2, *shape)
    assert rebuilt(x).shape == model(x).shape
    assert_equivariant(rebuilt, "p4m", x)
    assert rebuilt(torch.randn(1, 3, 20, 20)).shape == (1, 2, 18, 18)  # sizes stay free where the code leaves them so
    same = equivariant(model, "p1", input_shape=shape)
    take_over(same, model)
    torch.testing.assert_close(same(x), model(x), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")  # of torch, on checkpoints
@each("name", REFUSED)
def test_what_cannot_be_right_is_refused(name):
    build, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as caught:
        equivariant(build(), "p4", input_shape=SHAPE)
    assert str(caught.value).startswith("equivariant: ")
    assert len(str(caught.value)) < 600


def test_a_kind_of_problem_is_named_once_with_places_and_a_count():
    blocks = [layer for _ in range(60) for layer in (nn.Conv2d(4, 4, 1), nn.Hardtanh(), nn.PixelShuffle(1))]
    with pytest.raises(
        ValueError, match=r"cannot convert 3, 6, 9 and 57 more: PixelShuffle has no counterpart"
    ) as caught:
        equivariant(nn.Sequential(nn.Conv2d(3, 4, 1), *blocks), "p4", input_shape=SHAPE)
    assert len(str(caught.value)) < 200


def test_many_kinds_of_problems_are_counted():
    layers = [nn.Conv2d(4, 4, 1, groups=2 if k % 2 else 4, bias=False) for k in range(4)]
    odd = [type(f"Odd{k}", (nn.PixelShuffle,), {"__module__": "torch.nn.odd"})(1) for k in range(80)]
    with pytest.raises(ValueError, match=r"and \d+ problems of other kinds$") as caught:
        equivariant(nn.Sequential(nn.Conv2d(3, 4, 1), *layers, *odd), "p4", input_shape=SHAPE)
    assert len(str(caught.value)) < 1500


def test_learnt_numbers_per_channel_follow_the_width():
    rebuilt = equivariant(CONVERTED["layer scale"](), "p4", sharing="gc", input_shape=SHAPE, limit=4000)
    width = rebuilt.conv.out_channels
    assert width != 8
    assert rebuilt.g.shape == (width, 1, 1)
    assert (rebuilt.g == 0.1).all()
    assert isinstance(rebuilt.g, nn.Parameter)


def test_parts_of_a_split_keep_equal_shares():
    rebuilt = equivariant(CONVERTED["chunk"](), "p4", sharing="gc", input_shape=SHAPE, limit=3000)
    assert rebuilt.conv.out_channels == 2 * rebuilt.head.in_features
    rebuilt = equivariant(CONVERTED["group norm"](), "p4", sharing="gc", input_shape=SHAPE, limit=3000)
    assert rebuilt.norm.num_channels % 4 == 0


def test_buffers_of_the_image_stay():
    rebuilt = equivariant(CONVERTED["mean and spread of images"](), "p4", input_shape=SHAPE)
    assert torch.equal(rebuilt.m, torch.tensor([0.4, 0.5, 0.6]))
    assert not isinstance(rebuilt.m, nn.Parameter)
