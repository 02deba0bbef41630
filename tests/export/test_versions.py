"""Version folders: whole or not there, never overwritten."""

import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.export.versions import new_version, versions


def test_versions_count_up_and_are_never_touched(tmp_path):
    folder = tmp_path / "name"
    for expected in (1, 2):
        with new_version(folder, None) as (number, path):
            (path / "file").write_text(str(number))
        assert number == expected
    with new_version(folder, 12) as (number, path):
        (path / "file").touch()
    with pytest.raises(InputError, match="name/2 exists and is never overwritten; .* free .* 13"):
        with new_version(folder, 2):
            pass
    for version in (0, -1, 2**63):
        with pytest.raises(InputError, match=f"--version={version}: expected 1 to"):
            with new_version(folder, version):
                pass
    assert versions(folder) == [1, 2, 12] and (folder / "2" / "file").read_text() == "2"
    # Two exports at once: the later one gives way.
    with pytest.raises(InputError, match="another export took this version"):
        with new_version(folder, 5) as (_, path):
            (path / "file").touch()
            (folder / "5").mkdir()
            (folder / "5" / "file").write_text("theirs")
    assert (folder / "5" / "file").read_text() == "theirs"
    assert versions(folder) == [1, 2, 5, 12] and len(list(folder.iterdir())) == 4
