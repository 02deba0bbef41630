"""X-GACMN: its networks, losses and training step, and the encoders that remain after training."""

# The name under which Keras registers the layers, which saved files contain.
PACKAGE = "xgacmn_tf"
