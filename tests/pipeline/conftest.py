from predicting import converted, exported, home
from reported import made, ready

__all__ = ["converted", "exported", "home", "made", "ready"]
