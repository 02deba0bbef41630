"""The former name of `xgacmn search`."""

from xgacmn_tf.settings.command_line import stop

if __name__ == "__main__":
    stop(
        "`python -m xgacmn_tf.search` is now `python -m xgacmn_tf search --run=RUN "
        '"a red apple" photo.jpg`, or `xgacmn search …`; see --help there'
    )
