"""The command `python -m xgacmn_tf.features`; see `commands.features`."""

import sys

from xgacmn_tf.commands.features import main

if __name__ == "__main__":
    main(sys.argv)
