"""Every hostile ONNX file through the command, many mutated ones, and every network that is exported."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from graphs_table import HOSTILE, content_of
from helpers import posix
from hostile_graphs import IMAGES_N1HW, codes_of, outcomes

from mnist_dvc.graph import OPSETS, checked
from mnist_dvc.model import NETWORKS
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.operators import OPERATORS
from mnist_dvc.serving import OnnxModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.faults


@posix
def test_command_ends_in_65_and_one_line_for_every_hostile_file(tmp_path: Path) -> None:
    codes = codes_of({name: content_of(name) for name in HOSTILE}, tmp_path)
    assert len(codes) > 150
    assert {*codes.values()} == {65}


def test_many_bytes_with_a_digest_are_refused_or_answer(tmp_path: Path) -> None:
    refused, answered = outcomes(tmp_path, seed=1, count=2_000)
    assert min(refused, answered) > 150


FAMILIES = ("reference", "compact", "loop", "sprint", "tiny-2k")
EXPORTED = [*itertools.product(FAMILIES, OPSETS)]
"""One of each family with every version of the operators; those of another width are the same code, and each network
passes with one version in tests/pipeline/test_export_networks.py."""


def test_every_exported_network_passes_and_no_operator_is_allowed_without_need(tmp_path: Path) -> None:
    seen = set()
    for name, opset in EXPORTED:
        content = onnx_bytes(NETWORKS[name](0.0).eval(), opset, {"network": name})
        passed = checked(content, tmp_path / f"{name}-{opset}.onnx")
        given_NK, passed_NK = (OnnxModel.of(part).logits(IMAGES_N1HW, 7) for part in (content, passed))
        np.testing.assert_array_equal(given_NK, passed_NK)
        seen |= {node.op_type for node in onnx.load_from_string(content).graph.node}
    assert seen == {*OPERATORS}
