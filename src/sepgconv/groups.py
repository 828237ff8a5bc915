"""The old name of `sepgconv.symmetry`, which stays for one release with a warning."""

import warnings

from sepgconv.symmetry import *  # noqa: F403 (the old name hands on every public name of the new one)
from sepgconv.symmetry import __all__ as __all__

warnings.warn(
    "sepgconv.groups is called sepgconv.symmetry now; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
