"""Command-line arguments of the benchmarks: lists, and mistakes that end in one line."""

import argparse
from collections.abc import Callable, Collection
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"error: {message}; see --help\n")


def some_of(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """Return a type of arguments: names separated by commas, each one of `allowed`."""

    def names(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(map(repr, unknown))}, expected some of {', '.join(allowed)}"
            )
        return text.split(",")

    return names


def sizes(text: str) -> list[int]:
    """Type of arguments: whole numbers of at least 1, separated by commas."""
    values = text.split(",")
    wrong = [value for value in values if not value.strip().isdecimal() or int(value) < 1]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, wrong))}, expected whole numbers of at least 1"
        )
    return [int(value) for value in values]
