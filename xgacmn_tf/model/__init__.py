"""The paper's pieces, and what is left of them after training."""
