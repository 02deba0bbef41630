"""What setup.cfg cannot say: `flags/` goes into the built package, where an installed one looks."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithFlags(build_py):
    def run(self) -> None:
        super().run()
        # An editable install reads them where they are.
        if not self.editable_mode:
            self.copy_tree("flags", str(Path(self.build_lib, "xgacmn_tf", "flags")))


setup(cmdclass={"build_py": BuildWithFlags})
