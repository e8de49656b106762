"""The models that come with dupmine: their weights, tokenizers and cards."""
