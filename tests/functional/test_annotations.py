"""The shapes in the signatures are checked while the tests run, and so are right; here they refuse what is not."""

import jaxtyping
import pytest
import torch

from sepgconv import functional
from tests.covering import each

X, IMAGE = torch.zeros(1, 2, 4, 5, 5), torch.zeros(1, 2, 5, 5)
POINTWISE, GC = torch.zeros(3, 2, 4), torch.zeros(3, 3, 3)


@each(
    "call",
    [
        lambda: functional.lift_conv2d(X, torch.zeros(3, 2, 3, 3), "p4"),
        lambda: functional.lift_conv2d(IMAGE, torch.zeros(3, 1, 3, 3), "p4"),
        lambda: functional.lift_conv2d(IMAGE, torch.zeros(3, 2, 3, 3), "p4", torch.zeros(4)),
        lambda: functional.group_conv2d(X, torch.zeros(3, 2, 8, 3, 3), "p4"),
        lambda: functional.group_conv2d(X.int(), torch.zeros(3, 2, 4, 3, 3), "p4"),
        lambda: functional.depthwise_group_conv2d(X, torch.zeros(3, 3, 3), "p4"),
        lambda: functional.separable_group_conv2d(X, POINTWISE[:, :, :2], GC, "p4"),
        lambda: functional.separable_group_conv2d(X, POINTWISE, GC[:2], "p4"),
        lambda: functional.separable_group_conv2d(X, POINTWISE, GC, "p4", sharing="c"),
        lambda: functional.separable_group_conv2d(X, POINTWISE, GC, "p4", execution="dense"),
        lambda: functional.compose_kernel(POINTWISE, GC[:2], "gc"),
        lambda: functional.transform_kernel(GC, torch.zeros(4, 3, 3)),
        lambda: functional.group_layer_norm(X, torch.zeros(3)),
        lambda: functional.group_max_pool(IMAGE),
        lambda: functional.group_mean_pool(IMAGE),
        lambda: functional.max_pool2d(IMAGE, 2),
        lambda: functional.avg_pool2d(IMAGE, 2),
        lambda: functional.adaptive_avg_pool2d(IMAGE, 2),
    ],
)
def test_what_does_not_fit_the_annotations_is_refused(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()
