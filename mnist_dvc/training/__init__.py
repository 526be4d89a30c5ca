"""Data, network and params in; events and trained weights out."""
