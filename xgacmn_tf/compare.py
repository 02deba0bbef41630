"""The command that compares systems, `python -m xgacmn_tf.compare`."""

import sys

from xgacmn_tf.paper.compare_command import main

if __name__ == "__main__":
    main(sys.argv)
