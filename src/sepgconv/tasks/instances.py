"""Objects of a mask, one by one."""

import numpy as np
from numpy.typing import NDArray

from sepgconv._messages import require


def split_instances(mask: NDArray[np.bool_], *, min_distance: int = 5) -> NDArray[np.uint16]:
    """Return a mask in which every object has a number of its own, from 1; objects that touch are cut apart.

    A watershed of the distance to the background, with a seed at each of its maxima (scikit-image).

    Args:
        mask: (height, width), True where there is an object.
        min_distance: pixels that the middles of two objects are apart at least. Default: 5.

    Returns:
        uint16 (height, width), 0 for the background.

    Raises:
        ImportError: scikit-image is not installed.
        ValueError: the mask is no image, the distance is less than 1, or there are more than 65,535 objects.

    Example:
        >>> import numpy as np
        >>> y, x = np.mgrid[:20, :40]
        >>> discs = (np.hypot(y - 10, x - 12) < 8) | (np.hypot(y - 10, x - 26) < 8)  # which overlap
        >>> int(split_instances(discs).max())
        2
    """
    require("skimage", extra="train", purpose="the separation of objects")
    from skimage.feature import peak_local_max
    from skimage.measure import label
    from skimage.segmentation import watershed

    if mask.ndim != 2:
        raise ValueError(f"split_instances: expected a mask (height, width), got {mask.shape}")
    if min_distance < 1:
        raise ValueError(f"split_instances: min_distance must be 1 or more, got {min_distance}")
    inside = mask.astype(bool)
    distance = _distance(inside)
    parts = np.asarray(label(inside))
    peaks = peak_local_max(distance, min_distance=min_distance, labels=parts, exclude_border=False)
    seeds = np.zeros(mask.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    without = np.setdiff1d(parts[inside], parts[tuple(peaks.T)])  # objects without a maximum, as a single pixel
    for number, part in enumerate(without, len(peaks) + 1):
        seeds[parts == part] = number
    found = watershed(-distance, seeds, mask=inside)
    if found.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"split_instances: {found.max()} objects do not fit into an image of 16 bits")
    return found.astype(np.uint16)


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of every pixel to the background; the border of the image is none."""
    from scipy.ndimage import distance_transform_edt  # scikit-image needs scipy, too

    return np.asarray(distance_transform_edt(inside), dtype=np.float64)
