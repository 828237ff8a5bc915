"""Errors that end a command without a result: NoAnswerError, StoppedError."""


class NoAnswerError(ValueError):
    """The command could not find its result; it then ends with exit status 2, as on a wrong option."""


class StoppedError(Exception):
    """Ctrl-C, with a message of the command; on a KeyboardInterrupt typer would end without one."""
