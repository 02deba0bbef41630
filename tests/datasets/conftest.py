"""Real data that several tests of data sets read."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pascal_sentence_dir(wikipedia_dir) -> Path:
    """The folder of Pascal Sentence's released features and captions, or a skip."""
    folder = wikipedia_dir.parent / "pascal_sentence"
    if not folder.is_dir():
        pytest.skip(f"no Pascal Sentence data at {folder}")
    return folder
