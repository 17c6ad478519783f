"""Evaluation: measures, averages, significance, published results."""
