"""The files for a Kria without PYNQ say what they should; whether a board takes them, nobody has tried."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edgesight.hls import kria
from edgesight.hls.boards import BoardError
from tests.hls.bit_files import HEAD, bit_file

SYNC = bytes.fromhex("aa995566")


def test_a_firmware_image_is_the_configuration_with_each_words_bytes_turned() -> None:
    data = b"\xff" * 8 + SYNC + bytes(range(8))
    assert kria.firmware_image(bit_file(data)) == b"\xff" * 8 + SYNC[::-1] + bytes([3, 2, 1, 0, 7, 6, 5, 4])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"", "its first bytes are others"),
        (b"place holder of a dry run", "its first bytes are others"),
        (HEAD, "fields do not add up"),
        (HEAD + b"a", "fields do not add up"),
        (HEAD + b"a\xff\xffshort", "fields do not add up"),
        (HEAD + b"x" + bytes(16), "fields do not add up"),
        (bit_file(b""), "fields do not add up"),
        (bit_file(bytes(7)), "fields do not add up"),
        (bit_file(bytes(16))[:-4], "says 16 bytes and has 12"),
    ],
)
def test_what_is_no_whole_bitstream_is_refused(broken: bytes, said: str) -> None:
    with pytest.raises(BoardError, match=said):
        kria.firmware_image(broken)


@pytest.fixture
def tree() -> bytes:
    blocks = {"dma": (0xA000_0000, 0x1_0000), "kernel": (0xA001_0000, 0x1000)}
    return kria.overlay("fashion-mnist", 99_999_001, blocks)


def test_the_overlay_is_read_by_others_as_it_is_meant(tree: bytes) -> None:
    fdt = pytest.importorskip("fdt")
    read = fdt.parse_dtb(tree)

    def values(path: str, name: str) -> list[object]:
        found = read.get_property(name, path)
        assert found is not None, (path, name)
        return list(found)

    assert values("/fragment@0/__overlay__", "firmware-name") == ["fashion-mnist.bit.bin"]
    assert values("/fragment@0/__overlay__", "resets") == [0xFFFF_FFFF, 116]
    devices = "/fragment@1/__overlay__"
    assert values(f"{devices}/clocking0", "assigned-clock-rates") == [99_999_001]
    assert values(f"{devices}/clocking0", "assigned-clocks") == [0xFFFF_FFFF, 71]
    assert values(f"{devices}/edgesight-dma@a0000000", "reg") == [0, 0xA000_0000, 0, 0x1_0000]
    assert values(f"{devices}/edgesight-kernel@a0010000", "reg") == [0, 0xA001_0000, 0, 0x1000]
    assert values(f"{devices}/edgesight-kernel@a0010000", "compatible") == ["generic-uio"]
    # Of the port to memory both directions are 64 bits wide, as build.tcl makes it.
    assert values(f"{devices}/afi0", "config-afi")[:4] == [4, 1, 5, 1]
    for label, places in {
        "fpga_full": ["/fragment@0:target:0"],
        "zynqmp_reset": ["/fragment@0/__overlay__:resets:0"],
        "amba": ["/fragment@1:target:0"],
        "zynqmp_clk": [f"{devices}/clocking0:assigned-clocks:0", f"{devices}/clocking0:clocks:0"],
    }.items():
        assert values("/__fixups__", label) == places
        for place in places:
            path, name, at = place.split(":")
            assert values(path, name)[int(at) // 4] == 0xFFFF_FFFF


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc not found (Debian: device-tree-compiler)")
def test_the_device_tree_compiler_reads_the_overlay(tree: bytes, tmp_path: Path) -> None:
    (tmp_path / "tree.dtbo").write_bytes(tree)
    done = subprocess.run(
        ["dtc", "-I", "dtb", "-O", "dts", str(tmp_path / "tree.dtbo")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'firmware-name = "fashion-mnist.bit.bin";' in done.stdout


def test_the_shell_is_json() -> None:
    assert json.loads(kria.SHELL) == {"shell_type": "XRT_FLAT", "num_slots": "1"}
