"""What the studies run: trials, teachers and their answers, and what is made of them all."""
