"""What the trainings of both models share: settings, data, batches, checkpoints and what they leave."""
