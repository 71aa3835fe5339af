"""hls4ml's own C++ of all stages as one shared library: the bit-exact reference that `CsimFabric` loads.

A package carries what hls4ml generated; the headers that this includes are hls4ml's. They are read where hls4ml is
installed, and hls4ml itself is never imported: a library needs none of what compiling a network needs.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import sha256
from edgesight.host.kernel import Stage
from edgesight.host.libraries import LIBRARY, find, keep
from edgesight.host.package import Package

_BRIDGE = """\
#include <cstdint>
#include <dlfcn.h>
#include <string>

// hls4ml loads its weights from text files when a network first runs; they lie beside this library.
static std::string weights_folder() {{
    Dl_info info;
    dladdr(reinterpret_cast<void *>(&weights_folder), &info);
    std::string library(info.dli_fname);
    return library.substr(0, library.rfind('/')) + "/{name}/weights";
}}
#define WEIGHTS_DIR weights_folder()

#include "{name}.cpp"

// Integers of one frame from and to a stream of beats.
template <class beat_T, class value_T>
static void put(hls::stream<beat_T> &stream, const value_T *&values, int count) {{
    for (int at = 0; at < count; at += beat_T::size) {{
        beat_T beat;
        for (unsigned channel = 0; channel < beat_T::size; channel++)
            beat[channel] = *values++;
        stream.write(beat);
    }}
}}
template <class beat_T> static void get(hls::stream<beat_T> &stream, std::int32_t *&values, int count) {{
    for (int at = 0; at < count; at += beat_T::size) {{
        beat_T beat = stream.read();
        for (unsigned channel = 0; channel < beat_T::size; channel++)
            *values++ = beat[channel].to_int();
    }}
}}

// hls4ml names the types of its streams in several ways; here they are those of its function.
template <class in_T, class out_T>
static void run(void (*network)(hls::stream<in_T> &, hls::stream<out_T> &), const std::{element}_t *frames, int count,
                std::int32_t *logits, std::int32_t *) {{
    for (int frame = 0; frame < count; frame++) {{
        hls::stream<in_T> in("in");
        hls::stream<out_T> out("out");
        put(in, frames, {values});
        network(in, out);
        get(out, logits, {outputs});
    }}
}}
template <class in_T, class out_T, class left_T>
static void run(void (*network)(hls::stream<in_T> &, hls::stream<out_T> &, hls::stream<left_T> &),
                const std::{element}_t *frames, int count, std::int32_t *logits, std::int32_t *features) {{
    for (int frame = 0; frame < count; frame++) {{
        hls::stream<in_T> in("in");
        hls::stream<out_T> out("out");
        hls::stream<left_T> left("left");
        put(in, frames, {values});
        network(in, out, left);
        get(out, logits, {outputs});
        get(left, features, {left});
    }}
}}

// `count` frames (values HWC) to integer logits, and to the features that are left for the next stage.
extern "C" void edgesight_csim_{name}(const void *frames, int count, std::int32_t *logits, std::int32_t *features) {{
    run({name}::{name}, static_cast<const std::{element}_t *>(frames), count, logits, features);
}}
"""

_ENTRY = """\
#include <cstdint>

{declarations}

// Returns 0, or 1 for a stage that this library does not hold.
extern "C" int edgesight_csim(int stage, const void *frames, int count, std::int32_t *logits, std::int32_t *features) {{
    switch (stage) {{
{cases}
    default: return 1;
    }}
}}
"""
_DECLARATION = 'extern "C" void edgesight_csim_{name}(const void *, int, std::int32_t *, std::int32_t *);'
_CASE = "    case {index}: edgesight_csim_{name}(frames, count, logits, features); return 0;"

# hls4ml asserts that poolings do not overlap, though its code for streams computes those that do.
_FLAGS = ["-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-w"]
_GXX = "g++, which is not installed (Debian: apt-get install g++)"
_HEADERS = "hls4ml's headers, which are not installed: pip install 'edgesight[sim]'"


class CsimError(EdgeSightError):
    """The library cannot be built: says what is missing, or what the compiler said last."""


def build_library(package: Package) -> Path:
    """Compile the package's csim sources with g++, unless that was done already; the library's path.

    It goes to the user's cache (`edgesight.host.libraries`), with the weights that it reads. Raises CsimError when
    g++ or hls4ml's headers are missing, or g++ fails.
    """
    unstated = [f"{stage.name}: {stage.not_stated}" for stage in package.kernel.stages if stage.not_stated]
    if unstated:
        raise CsimError(
            f"{package.path} has no csim, since hls4ml cannot state {'; '.join(unstated)}: use the fabric `verilated`"
        )
    absent = [remedy for there, remedy in ((shutil.which("g++"), _GXX), (_hls4ml(), _HEADERS)) if there is None]
    if absent:
        found = find(package, "csim")  # built when they were there
        if found is None:
            raise CsimError(f"the csim library of {package.path}: install {' and '.join(absent)}")
        return found
    recipe = _recipe(package)
    found = find(package, "csim", recipe)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="edgesight-csim-") as folder:
        building = Path(folder)
        commands = [_command(package, building, stage) for stage in package.kernel.stages]
        entry = building / "entry.cpp"
        entry.write_text(_entry(package))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_run, commands))
        objects = [str(path) for path in sorted(building.glob("*.o"))]
        made = building / LIBRARY
        _run(["g++", "-std=c++17", "-O2", "-fPIC", "-shared", "-o", str(made), str(entry), *objects])
        weights = {
            name.removeprefix("csim/"): package.read(name)
            for name in package.kernel.files
            if name.startswith("csim/") and "/weights/" in name and name.endswith(".txt")
        }
        return keep(package, "csim", recipe, {**weights, LIBRARY: made.read_bytes()})


def _entry(package: Package) -> str:
    """The library's one entry, by the stage's number."""
    names = [stage.name for stage in package.kernel.stages]
    return _ENTRY.format(
        declarations="\n".join(_DECLARATION.format(name=name) for name in names),
        cases="\n".join(_CASE.format(index=index, name=name) for index, name in enumerate(names)),
    )


def _recipe(package: Package) -> str:
    """What a library depends on beside the package and the machine: glue, options, hls4ml's headers, the compiler."""
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    version = importlib.metadata.version("hls4ml")
    options = [_FLAGS, _BRIDGE, _entry(package), package.kernel.outputs, version, compiler]
    return sha256(json.dumps(options).encode())


def _hls4ml() -> Path | None:
    """Where hls4ml's C++ lies; None where it is not installed."""
    found = importlib.util.find_spec("hls4ml")
    return Path(found.origin).parent / "templates" if found is not None and found.origin is not None else None


def _templates() -> Path:
    folder = _hls4ml()
    if folder is None:
        raise CsimError(f"hls4ml's C++ needs {_HEADERS}")
    return folder


def lay_out(package: Package, stage: Stage, folder: Path) -> None:
    """Write hls4ml's C++ of one stage into `folder`, with the headers that it includes, as hls4ml's own writer does."""
    templates = _templates()
    # hls4ml's Vitis headers lie over the Vivado ones, the network's own files over both.
    for layer in (templates / "vivado" / "nnet_utils", templates / "vitis" / "nnet_utils"):
        shutil.copytree(layer, folder / "nnet_utils", dirs_exist_ok=True)
    prefix = f"csim/{stage.name}/"
    for name in package.kernel.files:
        if name.startswith(prefix):
            target = folder / name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(package.read(name))


def _command(package: Package, building: Path, stage: Stage) -> list[str]:
    """The compiler call for one stage."""
    kernel = package.kernel
    following = kernel.stages[kernel.stages.index(stage) + 1 :][:1]
    left = following[0].trunk if following else None
    sources = building / stage.name
    lay_out(package, stage, sources)
    bridge = sources / f"{stage.name}_bridge.cpp"
    bridge.write_text(
        _BRIDGE.format(
            name=stage.name,
            values=math.prod(kernel.input.shape if stage.trunk is None else stage.trunk.shape),
            element=kernel.input.element if stage.trunk is None else "int32",
            outputs=kernel.outputs,
            left=0 if left is None else math.prod(left.shape),
        )
    )
    # A namespace of its own for each stage's copy of hls4ml's templates: the linker would merge those of equal types,
    # and with them the folder that weights are read from.
    isolated = f"-Dnnet={stage.name}_nnet"
    includes = [f"-I{sources}", f"-I{_templates() / 'vivado' / 'ap_types'}"]
    return ["g++", *_FLAGS, isolated, *includes, "-c", "-o", str(building / f"{stage.name}.o"), str(bridge)]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CsimError(f"{command[0]} is not installed; install it (Debian: apt-get install g++)") from error
    if done.returncode != 0:
        raise CsimError(f"{' '.join(command[:1])} failed on hls4ml's C++; see why:\n{done.stderr[-2000:]}")
