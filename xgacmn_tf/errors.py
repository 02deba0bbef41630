"""Errors that users can fix."""


class InputError(ValueError):
    """A file, flag or value that the user gave cannot be used.

    The message names it, what was expected and how to fix it. Commands print it as a single line
    and exit with status 2; library users catch it as a `ValueError`.
    """


class DivergenceError(RuntimeError):
    """A term of the training is not finite; nothing of that epoch is saved."""

    @classmethod
    def of(cls, where: str, bad: dict[str, float]) -> "DivergenceError":
        """Return the error for terms that are not finite.

        Args:
          where: the epoch or step.
          bad: the values by name, at least one.
        """
        name, *others = bad
        more = f" (and {', '.join(others)})" if others else ""
        return cls(
            f"{where}: {name} is {bad[name]}{more}; nothing of this epoch was saved. Try a lower "
            "--generator_learning_rate or --discriminator_learning_rate, a higher "
            "--margin_weight_floor, or --image_map=zscore if the features are large"
        )


class WorkerLostError(RuntimeError):
    """Another worker of a run on several machines has stopped; the run can be resumed."""


def one_line(error: Exception) -> str:
    """Return the message of another library's error on one line, to be quoted in ours."""
    return " ".join(str(error).split()) or type(error).__name__
