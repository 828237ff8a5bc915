"""The contract of every convolution: its equation, its size, p1, its symmetry under every element of every group."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import sepgconv
from sepgconv.analysis import equivariance_error
from sepgconv.functional import act
from sepgconv.testing import TOLERANCE, assert_equivariant
from tests.covering import named

pytestmark = pytest.mark.usefixtures("float64")


def randomised(module):
    """Give every bias a value, so that no test passes because a bias is zero."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return module


def expected(kind, module, x, group, **planar):
    bias = module[1].bias if isinstance(module, nn.Sequential) else module.bias
    return kind.reference(module, x, group, **planar) + bias[:, None, None, None]


REFERENCE = [
    ({"kernel_size": 3}, (7, 5)),
    ({"kernel_size": 2, "padding": 1}, (6, 8)),
    ({"kernel_size": 4, "stride": 2, "padding": 1}, (6, 5)),
    ({"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2}, (5, 6)),
]


@torch.no_grad()
@pytest.mark.parametrize(("options", "size"), REFERENCE, ids=str)
@pytest.mark.covering(2)
def test_is_the_loop_over_its_definition(convolution, group, options, size):
    module, x = randomised(convolution.build(group, **options)), convolution.input(group, *size, batch=1)
    planar = {name: value for name, value in options.items() if name != "kernel_size"}
    y = module(x)
    torch.testing.assert_close(y, expected(convolution, module, x, group, **planar), rtol=1e-12, atol=1e-12)
    channels = 3 if convolution.name == "depthwise" else 4
    geometry = (module[1] if convolution.name == "two-step" else module).geometry
    assert y.shape == (1, channels, group.order, *geometry.output_size(*size))


@torch.no_grad()
# What the fixtures give does not change.
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_is_the_loop_for_whatever_arguments(convolution, data):
    group = sepgconv.group(data.draw(st.sampled_from(["p1", "p2", "p4", "pm", "pmm", "p4m"])))
    kernel, stride, dilation = (data.draw(st.integers(1, high)) for high in (4, 3, 2))
    padding, reach = data.draw(st.integers(0, 3)), dilation * (kernel - 1) + 1
    size = [data.draw(st.integers(max(1, reach - 2 * padding), reach + 4)) for _ in range(2)]
    planar = {"stride": stride, "padding": padding, "dilation": dilation}
    torch.manual_seed(0)
    module, x = randomised(convolution.build(group, kernel, **planar)), convolution.input(group, *size, batch=1)
    torch.testing.assert_close(module(x), expected(convolution, module, x, group, **planar), rtol=1e-12, atol=1e-12)


def test_on_p1_is_the_layer_of_torch(convolution):
    """One code path: with the trivial group, numbers and gradients are those of `torch.nn.Conv2d`."""
    for options in [{}, {"stride": 2, "padding": 1}, {"padding": 2, "padding_mode": "reflect"}]:
        with named(options=options):
            module, x = randomised(convolution.build("p1", 3, **options)), convolution.input("p1")
            if convolution.name == "two-step":
                plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4, **options))
                weights = {"0.weight": module[0].weight.squeeze(2), "1.weight": module[1].weight.unsqueeze(1)}
                biases = {f"{i}.bias": module[i].bias for i in (0, 1)}
            else:
                channel_groups = {"groups": 3} if convolution.name == "depthwise" else {}
                plain = nn.Conv2d(3, module.out_channels, 3, **channel_groups, **options)
                if convolution.class_name == "SeparableGroupConv2d":
                    weight = module.compose().squeeze(2)
                else:
                    weight = module.weight.unsqueeze(1) if channel_groups else module.weight.flatten(1, -3)
                weights, biases = {"weight": weight}, {"bias": module.bias}
            plain.load_state_dict(weights | biases)
            # In channels_last, the layout that the library works in: the last bit depends on the order of summation.
            plain_leaf = x.flatten(1, -3).clone(memory_format=torch.channels_last).requires_grad_()
            leaf = x.clone().requires_grad_()
            y, plain_y = module(leaf).squeeze(2), plain(plain_leaf)
            if convolution.name.endswith(("separable", "fourier")):  # two convolutions, equal to one up to rounding
                torch.testing.assert_close(y, plain_y, rtol=1e-12, atol=1e-12)
            else:
                assert torch.equal(y, plain_y)
            y.square().sum().backward()
            plain_y.square().sum().backward()
            torch.testing.assert_close(leaf.grad.flatten(1, -3), plain_leaf.grad, rtol=1e-12, atol=1e-12)
            for name, parameter in module.named_parameters():
                if name.endswith("bias"):
                    torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad, rtol=1e-12, atol=1e-12)


# Options, and a size at which they are exact on both axes and which is not square.
EXACT = [
    ({"kernel_size": 3}, (8, 6)),
    ({"kernel_size": 2}, (5, 6)),
    ({"kernel_size": 3, "padding": "same", "dilation": 2}, (5, 6)),
    ({"kernel_size": 4, "stride": 2, "padding": 1}, (8, 6)),
    ({"kernel_size": 3, "stride": 2, "padding": 1}, (9, 7)),
    ({"kernel_size": 1, "stride": 3}, (7, 4)),
    ({"kernel_size": 3, "padding": 2, "padding_mode": "circular"}, (8, 5)),
    ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, (8, 5)),
    ({"kernel_size": 2, "padding": 1, "padding_mode": "replicate"}, (8, 5)),
]


@pytest.mark.parametrize(("options", "size"), EXACT, ids=str)
@pytest.mark.covering(2)
def test_is_equivariant_under_every_element(convolution, group, options, size):
    module = randomised(convolution.build(group, **options))
    for height, width in (size, (max(size), max(size)) if "stride" not in options else (size[0], size[0])):
        assert_equivariant(module, group, convolution.input(group, height, width))


@pytest.mark.covering(1)
def test_gradients_are_equivariant(convolution, group):
    """The gradient by the input moves with the input, those by the parameters stay as they are."""
    module, x = randomised(convolution.build(group, padding=1)), convolution.input(group)
    weight = torch.randn_like(module(x))

    def gradients(x, weight):
        x = x.clone().requires_grad_()
        return torch.autograd.grad((module(x).sigmoid() * weight).sum(), [x, *module.parameters()])

    of_input, *of_parameters = gradients(x, weight)
    for g in range(1, group.order):
        moved_input, *same_parameters = gradients(act(group, g, x), act(group, g, weight))
        torch.testing.assert_close(moved_input, act(group, g, of_input), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(same_parameters, of_parameters, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["p2", "pm", "pmm"])
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"kernel_size": (3, 2)}, (6, 7)),
        ({"kernel_size": 3, "stride": (1, 2), "padding": (2, 1)}, (6, 7)),
        ({"kernel_size": (2, 3), "dilation": (2, 1), "padding": (0, 1), "padding_mode": "circular"}, (6, 7)),
    ],
    ids=str,
)
@pytest.mark.covering(1)
def test_unequal_sides_are_exact_where_the_axes_stay(convolution, name, options, size):
    assert_equivariant(randomised(convolution.build(name, **options)), name, convolution.input(name, *size))


@pytest.mark.parametrize("name", ["p2", "p4", "pm", "pmm", "p4m"])
class TestNegativeControls:
    def test_an_ordinary_convolution_over_folded_poses_is_not_equivariant(self, name):
        group = sepgconv.group(name)
        folded = nn.Sequential(
            nn.Flatten(1, 2), nn.Conv2d(3 * group.order, 4 * group.order, 3), nn.Unflatten(1, (4, group.order))
        )
        x = torch.randn(2, 3, group.order, 7, 7)
        assert min(equivariance_error(folded, group, x).values()) > 0.1
        with pytest.raises(AssertionError, match="Sequential is not equivariant to element"):
            assert_equivariant(folded, group, x)

    @pytest.mark.covering(1)
    def test_a_stride_of_two_on_an_even_map_is_not_equivariant(self, convolution, name):
        group = sepgconv.group(name)
        module = convolution.build(name, 3, stride=2, padding=1)
        errors = equivariance_error(module, name, convolution.input(name, 8, 8))
        reversing = {g for g in errors if -1 in (entry for row in group.matrices[g] for entry in row)}
        assert reversing
        assert min(errors[g] for g in reversing) > 0.05
        assert max((errors[g] for g in set(errors) - reversing), default=0) < TOLERANCE[torch.float64]

    @pytest.mark.covering(1)
    def test_one_wrong_row_in_the_tables_is_noticed(self, convolution, name, tables_of):
        module = convolution.build(name, 3)
        x = convolution.input(name, 7, 7)
        tables = [table for table in tables_of(module, x) if not table.is_floating_point()]
        assert tables
        for table in tables:
            table[1] = table[0]
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(module, name, x)

    def test_one_wrong_row_in_the_blocks_is_noticed(self, name, tables_of):
        """An irrep whose weights do not turn with the others: the irrep E, or two irreps of sign, get the same."""
        if name in ("p2", "pm", "pmm"):
            pytest.skip("a group of irreps of dimension 1 only: any weights of its blocks are those of a mixing")
        module = sepgconv.nn.SeparableGroupConv2d(3, 4, 3, name, execution="fourier")
        x = torch.randn(2, 3, sepgconv.group(name).order, 7, 7)
        tables = [table for table in tables_of(module, x) if table.is_floating_point()]
        assert tables
        for table in tables:
            table[:, 0] = 0
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(module, name, x)

    @pytest.mark.parametrize("size", [1e-3, 1e-9])
    @pytest.mark.covering(1)
    def test_weights_that_differ_between_poses_are_noticed(self, convolution, name, size):
        order = sepgconv.group(name).order
        per_pose = 1 + size * torch.linspace(0, 1, order)[:, None, None]
        module = convolution.build(name, 3)
        module.register_forward_hook(lambda module, args, y: y * per_pose)
        with pytest.raises(AssertionError, match="is not equivariant"):
            assert_equivariant(module, name, convolution.input(name, 7, 7))


@pytest.mark.covering(1)
def test_tolerances_hold_in_lower_precision(convolution, group):
    for dtype in (torch.float32, torch.bfloat16):
        module = convolution.build(group, 3).to(dtype)
        assert_equivariant(module, group, convolution.input(group).to(dtype))
