"""From IDX bytes to resident tensors: where digits come from, how they are split, how they are kept."""
