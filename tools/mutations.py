"""The ways in which `tools.broken_code` breaks the library, one fault each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A piece of code and what a mutation puts in its place.

    Attributes:
        code: the text that is searched for in all source files.
        broken: the text that replaces it.
    """

    code: str
    broken: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault. The place is found by its text, so that code may move between files.

    Attributes:
        name: how the mutation is asked for.
        fault: the kind of fault, in a few words.
        sites: the same place as it is written in different versions of the code; one of them must match, once.
        tests: files and folders of tests that are likely to catch the fault, which run first.
    """

    name: str
    fault: str
    sites: tuple[Site, ...]
    tests: tuple[str, ...]


def _mutation(name: str, fault: str, code: str, broken: str, *tests: str) -> Mutation:
    return Mutation(name, fault, (Site(code, broken),), tuple(f"tests/{test}" for test in tests))


SYMMETRY = (
    _mutation(
        "pose-division",
        "the relative pose is g h instead of g^-1 h",
        "    return table[np.array(group.inverses)]",
        "    return table",
        "symmetry/test_actions.py",
    ),
    _mutation(
        "pixel-inverse",
        "kernels are rotated the wrong way",
        "inverse = np.array(group.matrices).transpose(0, 2, 1)",
        "inverse = np.array(group.matrices)",
        "symmetry/test_actions.py",
    ),
    _mutation(
        "mirrored-kernel",
        "cm and cmm mirror at the other diagonal",
        "DIAGONAL: Matrix = ((0, 1), (1, 0))",
        "DIAGONAL: Matrix = ((0, -1), (-1, 0))",
        "symmetry",
    ),
    _mutation(
        "element-order",
        "the elements of a group are in another order, so that old weights mean something else",
        "[(m, t) for m in ((0,) if mirror is None else (0, 1)) for t in range(turns)]",
        "[(m, t) for t in range(turns) for m in ((0,) if mirror is None else (0, 1))]",
        "symmetry",
    ),
    _mutation(
        "act-flip",
        "a feature map is flipped along the other axis",
        "((-2, m00 + m01), (-1, m10 + m11))",
        "((-1, m00 + m01), (-2, m10 + m11))",
        "functional/test_action.py",
    ),
    _mutation(
        "fourier-block",
        "the blocks of the two-dimensional irrep are transposed",
        "unflatten(2, (copies, length, length)).permute(2, 3, 0, 4, 1)",
        "unflatten(2, (copies, length, length)).permute(2, 4, 0, 3, 1)",
        "functional/test_mixing.py",
    ),
    _mutation(
        "fourier-scale",
        "the blocks of the group Fourier transform are scaled by the wrong power of two",
        "/ 4.0**depth",
        "/ 2.0**depth",
        "symmetry/test_fast_fourier.py",
    ),
    _mutation(
        "butterfly-in-place",
        "the butterfly without gradients writes a wrong difference",
        "torch.sub(first, second, alpha=2, out=second)",
        "torch.sub(first, second, alpha=1, out=second)",
        "functional/test_mixing.py",
        "functional/test_convolution.py",
    ),
)

CONVOLUTION = (
    _mutation(
        "bias-once",
        "the bias is added at the first pose only",
        "    return None if bias is None else bias.repeat(order)",
        "    return None if bias is None else torch.cat([bias, bias.new_zeros((order - 1) * len(bias))])",
        "nn/test_convolution.py",
    ),
    _mutation(
        "padding-axes",
        "padding modes exchange the widths of the two axes",
        "F.pad(x, (pad_x, pad_x, pad_y, pad_y), mode=mode)",
        "F.pad(x, (pad_y, pad_y, pad_x, pad_x), mode=mode)",
        "functional/test_convolution.py",
    ),
    _mutation(
        "padding-backward",
        "the backward pass by hand sends every padding mode to the edge, as replicate",
        "F.pad(places, (padding, padding), mode=geometry.padding_mode)",
        'F.pad(places, (padding, padding), mode="replicate")',
        "functional/test_recompute.py",
    ),
    _mutation(
        "padding-smallest",
        "reflect padding accepts maps that are one pixel too small",
        'more = 1 if self.padding_mode == "reflect" else 0',
        "more = 0",
        "functional/test_convolution.py",
    ),
    _mutation(
        "same-even",
        'padding="same" pads one side more than the other',
        "if any(side % 2 for side in total):",
        "if False:",
        "functional/test_geometry.py",
    ),
    _mutation(
        "unequal-sides",
        "a kernel that is not square is accepted under quarter turns",
        "if along_y != along_x and group.exchanges_axes:",
        "if along_y != along_x and group.order == 4:",
        "functional/test_geometry.py",
        "nn/test_refusals.py",
    ),
    _mutation(
        "recompute-filters",
        "the gradient of the filters forgets all but the last piece of the batch",
        "grad_filters = zero_or(grad_filters, by_filters)",
        "grad_filters = by_filters",
        "functional/test_pieces.py",
        "functional/test_recompute.py",
    ),
    _mutation(
        "recompute-weight",
        "the gradient of the last mixing weight is dropped",
        "return [result[0] for result in results], [result[1] for result in results]",
        "return [r[0] for r in results], [*(r[1] for r in results[:-1]), torch.zeros_like(results[-1][1])]",
        "functional/test_recompute.py",
    ),
    _mutation(
        "rank-bias",
        "the bias is added once for every separable term",
        "F.pad(bias.unflatten(0, (order, 1, -1)), (0, 0, 0, terms - 1)).flatten()",
        "bias.unflatten(0, (order, 1, -1)).expand(-1, terms, -1).flatten()",
        "functional/test_rank.py",
    ),
    _mutation(
        "second-derivative",
        "the gradient of gc cannot be differentiated again",
        "found = gradients_again(partial(_plain, plan=ctx.plan), (x, scale, shift, filters, bias, *weights), grad)",
        "found = gc_backward(grad, x, scale, shift, filters, bias, mean, var, weights, ctx.plan)",
        "functional/test_recompute.py",
    ),
    _mutation(
        "functorch",
        "hand-written gradients run under the transforms of torch.func",
        "return not torch.compiler.is_compiling() and not is_transformed() and _plain_numbers(*tensors)",
        "return not torch.compiler.is_compiling() and _plain_numbers(*tensors)",
        "functional/test_recompute.py",
        "functional/test_normalization.py",
    ),
    _mutation(
        "mixed-precision",
        "hand-written gradients run in mixed precision, which casts operation by operation",
        "        and not casts(first.device.type)\n",
        "",
        "functional/test_recompute.py",
        "nn/test_modes.py",
    ),
    _mutation(
        "half-in-autocast",
        "maps of another half precision are not cast in mixed precision",
        "if x.dtype in HALVES and casts(x.device.type):",
        "if False:",
        "nn/test_bad_inputs.py",
    ),
    _mutation(
        "compiled-bias",
        "compiled convolutions lose the gradient of the bias",
        "return found[0], found[1], found[2] if rest else None, None, None, None",
        "return found[0], found[1], None, None, None, None",
        "functional/test_operators.py",
        "nn/test_compile.py",
    ),
    _mutation(
        "execution-choice",
        'execution="auto" takes the dearest execution',
        "        if cost < least:",
        "        if cost > least:",
        "functional/test_execution.py",
    ),
    _mutation(
        "execution-resolution",
        "the mixing in the irreps is counted at output resolution",
        "form.products * in_channels * terms * pixels_in",
        "form.products * in_channels * terms * pixels_out",
        "functional/test_execution.py",
    ),
    _mutation(
        "inference-tables",
        "tables that are made in inference mode cannot be used for training later",
        "with torch.inference_mode(False), _disable_current_modes():",
        "with _disable_current_modes():",
        "nn/test_modes.py",
    ),
)

LAYERS = (
    _mutation(
        "running-variance",
        "the running variance is biased",
        "running_var.lerp_(var * (count / (count - 1)), momentum)",
        "running_var.lerp_(var, momentum)",
        "functional/test_normalization.py",
    ),
    _mutation(
        "norm-gradient",
        "the gradient of batch norm ignores that the variance depends on the input",
        "tilt = -slope * invstd * self.weight / self._count",
        "tilt = 0 * slope",
        "functional/test_normalization.py",
    ),
    _mutation(
        "norm-rest",
        "the variance between the bulk of the pixels and the rest is left out",
        " + share * (1 - share) * way.square()",
        "",
        "functional/test_normalization.py",
    ),
    _mutation(
        "layer-norm-eps",
        "layer norm ignores its eps",
        "F.layer_norm(pixels, (poses, width), scale, shift, eps)",
        "F.layer_norm(pixels, (poses, width), scale, shift, 1e-5)",
        "functional/test_normalization.py",
    ),
    _mutation(
        "pool-mean",
        "GroupMaxPool takes the mean",
        "pooled = _over_poses(x, Tensor.amax)",
        "pooled = _over_poses(x, Tensor.mean)",
        "functional/test_pooling.py",
    ),
    _mutation(
        "pool-in-place",
        "changing the result of GroupMaxPool in place spoils its gradient",
        "return pooled.clone() if torch.is_grad_enabled() else pooled",
        "return pooled",
        "nn/test_in_place.py",
    ),
    _mutation(
        "pool-layout",
        "pools over poses answer in another memory layout than the other layers",
        "return fold_image(pool(pixels, 3).permute(0, 3, 1, 2))",
        "return pool(pixels, 3).permute(0, 3, 1, 2).contiguous()",
        "nn/test_layout.py",
    ),
    _mutation(
        "pool-window",
        "a window that sees padding only is accepted",
        "return any(-before % dilation >= side for before",
        "return any(-before % dilation > side for before",
        "functional/test_windows.py",
    ),
    _mutation(
        "dropout-channels",
        "dropout zeroes single numbers instead of channels",
        "F.dropout2d(fold_poses_into_width(input), self.p, self.training)",
        "F.dropout(fold_poses_into_width(input), self.p, self.training)",
        "nn/test_normalization.py",
    ),
    _mutation(
        "pose-count",
        "feature maps of another group are accepted",
        "(poses == x.shape[2] or (poses is None and x.shape[2] > 0))",
        "x.shape[2] > 0",
        "functional/test_convolution.py",
        "nn/test_refusals.py",
    ),
    _mutation(
        "integer-weights",
        "layers are built in types that are no floating point numbers",
        "    check_dtype(dtype, caller, NUMBERS)\n    with memory_for",
        "    with memory_for",
        "nn/test_bad_inputs.py",
    ),
    _mutation(
        "initial-weights",
        "the fan-in of the mixing forgets the group",
        "fan_pointwise = self.group.order * (self.in_channels",
        "fan_pointwise = (self.in_channels",
        "nn/test_initialisation.py",
    ),
    _mutation(
        "published-weights",
        "the published initialisation forgets the number of channels",
        "bound = 1 / math.sqrt(channels * ",
        "bound = 1 / math.sqrt(",
        "models/test_initialisation.py",
    ),
    _mutation(
        "memory-format",
        "layers cannot be moved to channels_last",
        "return fn(t.flatten(2)).view(t.shape) if t.ndim > 3 else fn(t)",
        "return fn(t)",
        "nn/test_modes.py",
    ),
)

TOOLS = (
    _mutation(
        "fold-sign",
        "compile_for_inference folds the running mean with the wrong sign",
        "return FrozenNorm2d(slope, offset - module.running_mean * slope)",
        "return FrozenNorm2d(slope, offset + module.running_mean * slope)",
        "inference",
    ),
    _mutation(
        "fold-shared",
        "a ReLU is folded into a convolution that is used elsewhere too",
        "_is_only(second, nn.ReLU) and first in once:",
        "_is_only(second, nn.ReLU):",
        "inference",
    ),
    _mutation(
        "plain-bias",
        "to_plain orders the bias by channel instead of by pose",
        "    bias = over_poses(module.bias, module.group.order)\n    layer.bias",
        "    bias = None if module.bias is None else module.bias.repeat_interleave(module.group.order)\n    layer.bias",
        "convert/test_to_plain.py",
    ),
    _mutation(
        "onnx-batch",
        "the batch axis of ONNX files is fixed",
        "axes = {0: Dim.AUTO, **(",
        "axes = {**(",
        "convert/test_onnx.py",
    ),
    _mutation(
        "foreign-hooks",
        "layers with hooks are replaced as if they had none",
        "return own_code(module, known, training=training) or own_hooks(module)",
        "return own_code(module, known, training=training)",
        "inference",
        "convert/test_foreign_networks.py",
    ),
    _mutation(
        "hooks-that-write",
        "hooks that change a tensor in place are taken for hooks that only look",
        "if result is not None or versions != ",
        "if result is not None and versions != ",
        "test_modules.py",
        "convert/test_foreign_networks.py",
    ),
    _mutation(
        "certify-tolerance",
        "certify takes a tenth of the output for rounding",
        "TOLERANCE = 1e-6\nBATCH",
        "TOLERANCE = 1e-1\nBATCH",
        "analysis/test_certificate.py",
    ),
    _mutation(
        "stride-remainder",
        "the sizes at which strides are exact are off by one",
        "return (side + 2 * p - d * (k - 1) - 1) % s",
        "return (side + 2 * p - d * (k - 1)) % s",
        "analysis/test_sizes.py",
    ),
    _mutation(
        "cost-rank",
        "the nominal cost counts one separable term whatever the rank",
        "return module.rank * maps_out * positions * (mixing + filtering), executed",
        "return maps_out * positions * (mixing + filtering), executed",
        "analysis/test_cost.py",
    ),
    _mutation(
        "separate-terms",
        "separate keeps the smallest singular vectors of the planar kernels",
        "planar = right[..., :rank, :] * root",
        "planar = right[..., -rank:, :] * root",
        "functional/test_factorisation.py",
    ),
    _mutation(
        "e2cnn-elements",
        "elements of e2cnn are matched with those that rotate the other way",
        "for value in (yy, -yx, -xy, xx)]",
        "for value in (yy, yx, xy, xx)]",
        "interop/test_e2cnn.py",
    ),
)

FILES_AND_TRAINING = (
    _mutation(
        "storage-key",
        "what the weights say of their network is read under another key",
        "header = weights.metadata.get(HEADER)",
        'header = weights.metadata.get("format")',
        "models/test_storage_damage.py",
        "models/test_storage.py",
    ),
    _mutation(
        "seal",
        "the digest of a file is not compared",
        "if values[DIGEST] != values_digest(plain):",
        "if DIGEST not in values:",
        "test_files.py",
    ),
    _mutation(
        "atomic-write",
        "files are written in place, so that a kill leaves half of one",
        "    write_together({path: content})\n",
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    content(path) if callable(content) else path.write_bytes(content)\n",
        "test_files.py",
    ),
    _mutation(
        "config-default",
        "a default of the training config is another one",
        "    weight_decay: float = 1e-4",
        "    weight_decay: float = 1e-3",
        "tasks/test_config.py",
        "tasks",
    ),
    _mutation(
        "learning-rate",
        "the learning rate falls one epoch late",
        "sum(milestone <= epoch for milestone",
        "sum(milestone < epoch for milestone",
        "tasks/test_config.py",
    ),
    _mutation(
        "resume-seed",
        "the random numbers of an epoch depend on the epochs before it, so that a resumed run differs",
        "        torch.manual_seed(epoch_seed(self.config.seed, epoch, stream=1 + self.global_rank))\n",
        "",
        "tasks/test_resume.py",
        "tasks/test_module.py",
    ),
    _mutation(
        "resume-checkpoint",
        "a run that is resumed after its first epoch begins anew",
        "ckpt_path=folder.checkpoint if keeper.epoch else None",
        "ckpt_path=folder.checkpoint if keeper.epoch > 1 else None",
        "tasks/test_resume.py",
    ),
    _mutation(
        "last-batch",
        "a batch may be too small for batch norm",
        "if 0 < len(images) % batch_size < smallest:",
        "if False:",
        "tasks/test_batches.py",
    ),
    _mutation(
        "loss-share",
        "processes with unequal shares of a batch count alike",
        "return total * self.trainer.world_size / size",
        "return total / len(labels)",
        "tasks/test_module.py",
        "tasks/test_ddp.py",
    ),
    _mutation(
        "evaluation-mode",
        "networks are evaluated in training mode",
        "    was_training = model.training\n    model.eval()\n    wrong = 0",
        "    was_training = model.training\n    wrong = 0",
        "tasks/test_evaluation.py",
    ),
    _mutation(
        "record-figure",
        "the errors of a record are numbers of images, not percent",
        '= 100 * int(trainer.strategy.reduce(wrong, reduce_op="sum")) / len(split)',
        '= int(trainer.strategy.reduce(wrong, reduce_op="sum")) / len(split)',
        "tasks/test_train.py",
    ),
    _mutation(
        "deviation",
        "tables show the standard deviation with n instead of n - 1",
        "return statistics.stdev(self.errors)",
        "return statistics.pstdev(self.errors)",
        "experiments/test_statistics.py",
    ),
    _mutation(
        "whitening",
        "the covariance of the whitening is divided by n - 1",
        "alpha=1 / len(pixels))",
        "alpha=1 / (len(pixels) - 1))",
        "data/test_preprocessing.py",
    ),
    _mutation(
        "pixel-scale",
        "pixels are scaled to [0, 255/256]",
        "preprocessing(part.float() / 255)",
        "preprocessing(part.float() / 256)",
        "data/test_preprocessing.py",
        "data",
    ),
    _mutation(
        "quarter-turns",
        "the augmentation never rotates by 270 degrees",
        "        for k in (1, 2, 3):\n            turned",
        "        for k in (1, 2):\n            turned",
        "data/test_augmentation.py",
    ),
    _mutation(
        "exit-code",
        "sepgconv certify ends well although the network is not equivariant",
        "raise typer.Exit(1)",
        "raise typer.Exit(0)",
        "cli/test_certify.py",
    ),
)

MUTATIONS: tuple[Mutation, ...] = (*SYMMETRY, *CONVOLUTION, *LAYERS, *TOOLS, *FILES_AND_TRAINING)
