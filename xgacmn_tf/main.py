"""The command `python -m xgacmn_tf.main`; see `commands.train`."""

import sys

from xgacmn_tf.commands.train import main

if __name__ == "__main__":
    main(sys.argv)
