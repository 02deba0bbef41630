"""The command `python -m xgacmn_tf`; see `commands.console`."""

from xgacmn_tf.commands.console import main

if __name__ == "__main__":
    main()
