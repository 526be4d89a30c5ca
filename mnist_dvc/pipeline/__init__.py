"""What dvc.yaml runs, and the commands that use its model: paths and wiring around the modules that do the work."""
