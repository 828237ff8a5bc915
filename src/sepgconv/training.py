"""The old name of `sepgconv.tasks`, which stays for one release with a warning."""

import warnings

from sepgconv.tasks import *  # noqa: F403 (the old name hands on every public name of the new one)
from sepgconv.tasks import __all__ as __all__

warnings.warn(
    "sepgconv.training is called sepgconv.tasks now; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
