"""The 54 networks of timm that `equivariant` is tried on, and what becomes of each.

    python -m tests.convert.timm_models [--limit N] [NAME ...]

prints a row for each: converted, certified at which size and compared after `to_plain`, or refused by what.
"""

import argparse
import time

import torch

from sepgconv.analysis import certify
from sepgconv.convert import equivariant, to_plain

NAMES = (
    "resnet18", "resnet50", "wide_resnet50_2", "seresnet18", "seresnet50", "selecsls42b", "legacy_xception",
    "convmixer_768_32", "resnetv2_50", "densenet121", "inception_v3", "xception41", "regnetx_004", "regnety_004",
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "efficientnet_b0", "efficientnet_lite0",
    "mnasnet_100", "fbnetc_100", "lcnet_050", "tinynet_e", "repvgg_a0", "mobileone_s0", "darknet53", "cspdarknet53",
    "cspresnet50", "ese_vovnet19b_dw", "dpn68", "hardcorenas_a", "rexnet_100", "resnet50d", "resnet26t", "resnetrs50",
    "resnext50_32x4d", "resnest14d", "res2net50_26w_4s", "skresnet18", "inception_next_atto", "fasternet_t0",
    "ghostnet_100", "ecaresnet50t", "resnetblur50", "convnext_atto", "convnextv2_atto", "hgnetv2_b0", "nf_resnet26",
    "starnet_s1", "vgg11_bn", "tf_efficientnetv2_b0", "dla34", "dla60x_c", "hrnet_w18_small",
)  # fmt: skip
# From the first on; strides of 2 with kernels of 3 are exact on 2^n + 1, kernels as large as their stride on 2^n.
SIDES = (97, 96, 65, 64, 129, 75, 99, 107, 127)


def network(name):
    """Build one of them with few classes; torchvision, or its stand-in, must be there."""
    import timm

    return timm.create_model(name, num_classes=5)


def stirred(model):
    """Give scales and statistics values of their own, so that nothing vanishes."""
    with torch.no_grad():
        for path, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.ndim == 1 and tensor.is_floating_point() and path.rpartition(".")[2] != "bias":
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def examine(name, limit, sides=SIDES):
    """Convert one at the first side where it is exact; return a row: what became of it, and the side."""
    refused, inexact = "", ""
    for side in sides:
        shape = (3, side, side)
        try:
            rebuilt = equivariant(network(name), "p4", "gc", input_shape=shape, limit=limit)
        except ValueError as error:
            refused = refused or f"at {side}: {error}"
            continue
        rebuilt = stirred(rebuilt)
        found = certify(rebuilt, shape, "p4", samples=2)
        if not (found.exact and found.varies):
            inexact = inexact or f"at {side}: {found.reason} ({found.error:.1e}, varies {found.varies})"
            continue
        x = torch.randn(2, *shape)
        plain = to_plain(rebuilt, input_shape=shape)
        with torch.no_grad():
            expected = rebuilt(x)
            difference = ((plain(x) - expected).abs().max() / expected.abs().max()).item()
        return ("exact" if difference < 1e-4 else f"plain differs {difference:.1e}"), side, found.error, refused
    return ("inexact" if inexact else "refused"), 0, 0.0, f"{inexact} {refused}"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--limit", type=int, default=None, help="parameters; those of the network if not given")
    parser.add_argument("--sides", type=int, nargs="*", default=SIDES)
    options = parser.parse_args()
    from tests.convert import torchvision_stand_in

    torchvision_stand_in.install()
    counts = {}
    for name in options.names:
        start = time.perf_counter()
        try:
            became, side, error, words = examine(name, options.limit, options.sides)
        except Exception as broken:
            became, side, error, words = "BROKEN", 0, 0.0, f"{type(broken).__name__}: {broken}"
        counts[became] = counts.get(became, 0) + 1
        print(f"{name:24} {became:8} {side:4} {error:8.1e} {time.perf_counter() - start:5.1f}s {words[:400]}", flush=True)
    print(counts)


if __name__ == "__main__":
    main()
