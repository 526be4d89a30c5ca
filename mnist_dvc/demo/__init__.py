"""The demo: a page to draw a digit on, and a server on this machine that tells what a network sees and answers."""
