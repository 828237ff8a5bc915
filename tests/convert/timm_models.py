"""The 54 networks of timm that `equivariant` is tried on, and what becomes of each.

    python -m tests.convert.timm_models [--limit N] [NAME ...]

prints a row for each: converted, certified at which size and compared after `to_plain`, or refused by what.
"""

import argparse
import time

import torch

from sepgconv.analysis import certify
from sepgconv.convert import equivariant, to_plain

# The side on which each is exact, or the side to try: 2^n + 1 for strides of 2 with odd kernels, multiples of the
# stride for kernels as large as it. Those under OTHERS join both kinds and are exact on no size, or are refused.
EXACT = {
    "resnet18": 33, "resnet50": 33, "wide_resnet50_2": 33, "seresnet18": 33, "seresnet50": 33, "selecsls42b": 65,
    "legacy_xception": 39, "convmixer_768_32": 28, "resnetv2_50": 33, "densenet121": 29, "xception41": 33,
    "mobilenetv2_100": 33, "mobilenetv3_small_100": 33, "mobilenetv4_conv_small": 33, "efficientnet_b0": 33,
    "efficientnet_lite0": 33, "mnasnet_100": 33, "fbnetc_100": 33, "lcnet_050": 65, "tinynet_e": 33, "repvgg_a0": 33,
    "mobileone_s0": 33, "darknet53": 33, "cspdarknet53": 33, "cspresnet50": 33, "ese_vovnet19b_dw": 57,
    "hardcorenas_a": 33, "rexnet_100": 33, "res2net50_26w_4s": 33, "skresnet18": 33, "fasternet_t0": 32,
    "ghostnet_100": 33, "resnetblur50": 33, "convnext_atto": 32, "convnextv2_atto": 32, "starnet_s1": 33,
    "vgg11_bn": 32, "tf_efficientnetv2_b0": 33,
}  # fmt: skip
OTHERS = {
    "resnet50d": 64, "resnet26t": 64, "resnetrs50": 64, "ecaresnet50t": 64, "dla34": 64, "hrnet_w18_small": 64,
    "inception_v3": 97, "regnetx_004": 33, "regnety_004": 33, "dpn68": 33, "resnext50_32x4d": 33, "resnest14d": 64,
    "dla60x_c": 64, "inception_next_atto": 64, "hgnetv2_b0": 33, "nf_resnet26": 64,
}  # fmt: skip
SIDES = EXACT | OTHERS


def network(name):
    """Build one of them with few classes; torchvision, or its stand-in, must be there."""
    import timm

    return timm.create_model(name, num_classes=5)


def stirred(model, shape):
    """Give scales and biases values of their own, so that nothing vanishes, and norms the statistics of their input."""
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(std=0.1) if path.endswith("bias") else parameter.uniform_(0.5, 1.5)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        model.train()(torch.randn(4, *shape))
    return model.eval()


def examine(name, side, limit):
    """Convert one; return a row: what became of it, the worst error under the group, and what was said."""
    shape = (3, side, side)
    try:
        rebuilt = equivariant(network(name), "p4", sharing="gc", input_shape=shape, limit=limit)
    except ValueError as error:
        return "refused", 0.0, str(error)
    rebuilt = stirred(rebuilt, shape)
    found = certify(rebuilt, "p4", shape, samples=2)
    x = torch.randn(2, *shape)
    plain = to_plain(rebuilt, input_shape=shape)
    with torch.no_grad():
        expected = rebuilt(x)
        difference = ((plain(x) - expected).abs().max() / expected.abs().max()).item()
    became = "exact" if found.exact and found.varies else "inexact" if found.varies else "constant"
    return became if difference < 1e-4 else f"plain off by {difference:.1e}", found.error, found.reason


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SIDES))
    parser.add_argument("--limit", type=int, default=None, help="parameters; those of the network if not given")
    parser.add_argument("--side", type=int, default=None, help="of the images; that of the table if not given")
    options = parser.parse_args()
    from tests.convert import torchvision_stand_in

    torchvision_stand_in.install()
    counts = {}
    for name in options.names:
        start, side = time.process_time(), options.side or SIDES[name]
        try:
            became, error, words = examine(name, side, options.limit)
        except Exception as broken:  # noqa: BLE001 (one that breaks is a row, too)
            became, error, words = "BROKEN", 0.0, f"{type(broken).__name__}: {broken}"
        counts[became] = counts.get(became, 0) + 1
        print(
            f"{name:24} {became:8} {side:4} {error:8.1e} {time.process_time() - start:5.1f}s {words[:400]}", flush=True
        )
    print(counts)


if __name__ == "__main__":
    main()
