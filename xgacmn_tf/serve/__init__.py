"""Development server: TensorFlow Serving's gRPC and REST over exported models, without its binary.

For laptops and tests; production is TensorFlow Serving itself, which reads the same flags, the same
configuration files and the same folders. `python -m xgacmn_tf.serve --help` lists the flags.

A request goes one straight line, whichever protocol it came by: `grpc_services` or `rest` →
`requests` (checks) → `batching` (joins it with others) → `servable` (runs the model). `models`
watches the folders and decides what is loaded; `saved_model_check` what may be.
"""
