"""NoAnswerError: a command whose exit status 1 is an answer could give none."""


class NoAnswerError(ValueError):
    """What was asked could not be found out; the command line then ends with exit status 2, as on a wrong option."""
