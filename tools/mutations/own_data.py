"""Faults of images of one's own: how they are divided, read and cached; of tasks, and of trained weights."""

from tools.mutations.mutation import mutation

OWN_DATA = (
    mutation(
        "group-leak",
        "a cut by groups divides the images of a group among the parts",
        "return [np.flatnonzero(part_of_group[group_of] == part) for part in range(len(shares))]",
        "return [np.flatnonzero(np.roll(part_of_group[group_of], 1) == part) for part in range(len(shares))]",
        "data/test_splitting_by_group.py",
    ),
    mutation(
        "fold-overlap",
        "every fold but the first has an image of the one before it, too",
        "return [np.sort(order[fold::folds]) for fold in range(folds)]",
        "return [np.sort(order[max(fold - 1, 0) :: folds]) for fold in range(folds)]",
        "data/test_splitting_by_group.py",
        "data",
    ),
    mutation(
        "leaks-unseen",
        "equal images in two parts are not noticed",
        "            if other != part:\n                found.append(",
        "            if other == part:\n                found.append(",
        "data",
    ),
    mutation(
        "cache-stale",
        "the cache of decoded images is used although files have changed",
        "if found is not None and found.files == files and found.serves(wanted):",
        "if found is not None and found.serves(wanted):",
        "data/test_on_disk.py",
        "data",
    ),
    mutation(
        "balanced-sampling",
        "balanced sampling draws some images again before others of their class have come",
        "rounds = [torch.randperm(len(own), generator=generator) for _ in range(-(-wanted // len(own)))]",
        "rounds = [torch.randint(len(own), (wanted,), generator=generator)]",
        "tasks/test_classification.py",
    ),
    mutation(
        "mask-ignored",
        "pixels that are not judged count for the confusion matrix as class 0",
        "        pairs = targets[known] * classes + scores.argmax(1)[known]",
        "        pairs = targets.where(known, 0).flatten() * classes + scores.argmax(1).flatten()",
        "tasks/test_segmentation.py",
    ),
    mutation(
        "regression-units",
        "the scale of regression is left out, so that answers are not in the user's units",
        "return self._with(mean.tolist(), scale.where(scale > 0, 1.0).tolist())",
        "return self._with(mean.tolist(), torch.ones_like(scale).tolist())",
        "tasks/test_regression.py",
    ),
    mutation(
        "vector-direction",
        "vectors turn clockwise where images turn counter-clockwise",
        "        angle = frequency * np.arctan2(-m01, m11)",
        "        angle = frequency * np.arctan2(m01, m11)",
        "nn/test_vectors.py",
    ),
    mutation(
        "label-smoothing",
        "the labels of several classes are smoothed towards 0 instead of 1/2",
        "targets + label_smoothing * (0.5 - targets))",
        "targets - label_smoothing * targets)",
        "tasks/test_multi_label.py",
    ),
    mutation(
        "equivariance-metric",
        "the metric compares the network with itself on the same images",
        "self.difference += (model(act(self.group, g, images)) - expected)",
        "self.difference += (move_output(model, self.group, g, model(images)) - expected)",
        "tasks/test_lightning.py",
    ),
    mutation(
        "pretrained-group",
        "trained weights are taken by a network on another group",
        "if key not in OPEN and key in kept and kept[key] != plain:",
        "if key not in (*OPEN, 'group') and key in kept and kept[key] != plain:",
        "models/test_pretrained.py",
    ),
)
