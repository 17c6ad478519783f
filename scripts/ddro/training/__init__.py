"""Training: instances, negatives, pairs, the trainers of SFT and DDRO, validation, checkpoints, logs."""
