"""X-GACMN: its networks, losses, input maps and training, and the encoders of a trained model."""

# The name under which Keras registers the layers, which saved files contain.
PACKAGE = "xgacmn_tf"
