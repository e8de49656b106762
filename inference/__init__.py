"""What both models share: finding their files, the device, special tokens and batches."""
