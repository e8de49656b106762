"""What is fitted to labelled pairs after training: probabilities, thresholds, the decision, the cascade."""
