"""The errors that a user can mend."""


class InputError(ValueError):
    """A file, flag or value that the user gave cannot be used.

    The message names it, says what was found and what was expected, and how to mend it. The
    commands print it as a single line and exit with status 2; library users catch it as a
    `ValueError`.
    """


class DivergenceError(RuntimeError):
    """Training has left the finite numbers: nothing of that epoch is worth keeping."""


class WorkerLostError(RuntimeError):
    """Another worker of a run on several machines has stopped; the run can be started again."""
