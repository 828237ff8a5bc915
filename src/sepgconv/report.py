"""The old name of `sepgconv.analysis.redundancy.report`, which stays for one release with a warning."""

import warnings

from sepgconv.analysis.redundancy.report import *  # noqa: F403 (the old name hands on every public name of the new one)
from sepgconv.analysis.redundancy.report import __all__ as __all__

warnings.warn(
    "sepgconv.report is called sepgconv.analysis.redundancy.report now; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
