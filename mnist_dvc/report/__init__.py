"""Events and scores to what people look at: console, TensorBoard, tables, figures."""
