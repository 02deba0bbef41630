"""The command that reproduces the paper's results, `python -m xgacmn_tf.reproduce`."""

import sys

from xgacmn_tf.paper.reproduce_command import main

if __name__ == "__main__":
    main(sys.argv)
