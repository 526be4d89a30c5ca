"""Imports all that our commands do, and what that imports when it is first used: for processes that fork."""

from __future__ import annotations

import importlib
import warnings

import torch

for name in (
    *(
        "torch._dynamo",
        "torch.utils.tensorboard",
        "tensorboard.plugins.pr_curve.summary",
        "tensorboard.plugins.hparams",
    ),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pandas", "scipy.stats", "sklearn.metrics"),
    *("jinja2", "onnx", "onnxruntime", "onnxscript", "pydantic", "rich.progress", "ruamel.yaml", "safetensors.torch"),
    "typer",
):
    importlib.import_module(name)
with warnings.catch_warnings(action="ignore"):  # an export imports five hundred modules
    torch.onnx.export(torch.nn.Identity(), (torch.zeros(1),), dynamo=True, verbose=False)
