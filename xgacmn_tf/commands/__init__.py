"""Commands of the console: `xgacmn COMMAND --help` or `python -m xgacmn_tf COMMAND --help`."""
