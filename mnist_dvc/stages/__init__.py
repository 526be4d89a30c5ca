"""The stages of the pipeline: paths and wiring around the modules that do the work."""
