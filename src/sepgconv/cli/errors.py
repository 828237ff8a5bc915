"""Errors that end a command without a result: NoAnswerError, StoppedError."""


class NoAnswerError(ValueError):
    """What was asked could not be found out; the command line then ends with exit status 2, as on a wrong option."""


class StoppedError(Exception):
    """Ctrl-C, with what the command has to say of it; typer would make an end without a word of a KeyboardInterrupt."""
