"""The replacements of the former development server, `python -m xgacmn_tf.serve`."""

from xgacmn_tf.settings.command_line import stop

if __name__ == "__main__":
    stop(
        "python -m xgacmn_tf.serve was replaced: run `xgacmn serve --run=RUN` for search and REST "
        "predictions, or TensorFlow Serving for gRPC, batching and version policies (see "
        "export/serving/README.md)"
    )
