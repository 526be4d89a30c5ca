"""What carries a stage, whichever it is: what it read, how it is stopped, how a training outlives its process."""
