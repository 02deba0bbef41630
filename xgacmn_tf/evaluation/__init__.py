"""Scores of whole galleries in both directions, whatever embeds them."""
