from predicting import converted, exported, home

__all__ = ["converted", "exported", "home"]
