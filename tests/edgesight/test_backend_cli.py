"""`edgesight train --backend`: words that do not fit together are refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.cli.build import _check_backend
from edgesight.cli.ending import ArgumentError
from tests.edgesight.commands import fails


@pytest.mark.parametrize(
    ("said", "statement", "size", "told"),
    [
        ("resnet", None, None, "--backend resnet: is none; give shipped, efficientnet-lite0 or an ONNX file"),
        ("net.onnx", None, None, "say by --backend-input FILE.toml what it takes of a picture"),
        ("shipped", Path("net.toml"), None, "--backend-input net.toml: belongs to a --backend FILE.onnx"),
        ("net.onnx", Path("net.toml"), 32, "--backend-size 32: belongs to --backend efficientnet-lite0"),
        ("shipped", None, 32, "--backend-size 32: belongs to --backend efficientnet-lite0"),
    ],
)
def test_words_that_do_not_fit_are_refused(said: str, statement: Path | None, size: int | None, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        _check_backend(said, statement, size)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = tmp_path / "net.toml"
    said.write_text('height = 8\nwidth = 8\nchannels = 3\nlayout = "NHWC"\nelement = "uint8"\n')
    model = tmp_path / "none.onnx"
    fails(f"{model}: cannot be read", "train", "digits", "--backend", model, "--backend-input", said)
