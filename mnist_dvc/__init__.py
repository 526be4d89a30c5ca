"""Train, prove and ship the best handwritten-digit classifier under 20,000 parameters."""

__all__ = ["__version__"]

__version__ = "0.1.0"
