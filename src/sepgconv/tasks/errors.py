"""What can end a training run early, as exceptions. Imports nothing heavy, so a command line can catch them cheaply."""


class DivergedError(RuntimeError):
    """The loss or a weight is no longer a finite number; the run stopped and its last good checkpoint is untouched.

    Example:
        >>> issubclass(DivergedError, RuntimeError)
        True
    """


class CheckpointError(OSError):
    """A file of the run could not be written, a full disk for example; its last good checkpoint is untouched.

    Example:
        >>> issubclass(CheckpointError, OSError)
        True
    """


class LostProcessError(RuntimeError):
    """Another process of a run on several devices has ended, killed for example; the last good checkpoint is there.

    Example:
        >>> issubclass(LostProcessError, RuntimeError)
        True
    """


class LostImagesError(RuntimeError):
    """An image that could be read when the training began cannot be read any more; the last good checkpoint is there.

    Example:
        >>> issubclass(LostImagesError, RuntimeError)
        True
    """
