"""From settings and paired features to trained encoders."""
