"""Exports a run folder as a SavedModel that a server can load; the same as `xgacmn export`.

python export/export_savedmodel.py --run=runs/openclipart-1a2b3c4d --output=models
    writes models/xgacmn/1/; again, models/xgacmn/2/. See --help.
"""

import sys

from xgacmn_tf.commands.export import main

if __name__ == "__main__":
    main(sys.argv)
