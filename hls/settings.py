"""hls4ml's configuration, read key by key: each is honoured, known to change nothing here, or refused by name.

Names are settings, too: a project's name becomes a module's, beside those of the library.
"""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgesight.hls.network import CompileError, refuse

# IEEE 1800-2017, annex B.
_KEYWORDS = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins
    binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
    constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
    else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
    endpackage endprimitive endprogram endproperty endspecify endsequence endtable endtask enum event eventually expect
    export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global
    highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input
    inside instance int integer interconnect interface intersect join join_any join_none large let liblist library local
    localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
    noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
    property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
    rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled
    signed small soft solve specify specparam static string
    strong strong0 strong1 struct super supply0 supply1 sync_accept_on
    sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1
    triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored
    virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
    """
# What hls4ml's C++ of the same name could not be called, beyond the words above.
_CPP_KEYWORDS = """
    alignas alignof and_eq asm auto bitand bitor bool catch char char8_t char16_t char32_t compl concept const_cast
    consteval constexpr constinit co_await co_return co_yield decltype delete double dynamic_cast explicit false float
    friend goto inline long main mutable namespace noexcept nnet not_eq nullptr operator or_eq private public register
    reinterpret_cast requires short sizeof static_assert static_cast std switch template thread_local throw true try
    typeid typename using volatile wchar_t xor_eq
    """
KEYWORDS = frozenset((_KEYWORDS + _CPP_KEYWORDS).split())
# What hls4ml's own project has beside the network's function.
_HLS4ML_FILES = ("defines", "parameters", "weights", "nnet_utils", "ap_types", "hls", "project", "input_t", "result_t")
LONGEST_NAME = 100  # characters: names become file names
_STRATEGIES = ("latency", "resource")  # both make the same hardware, which its reuse factors shape
_WEIGHTED = ("Conv", "MatMul", "Gemm", "Conv2D", "PointwiseConv2D", "Dense")  # in QONNX, and as hls4ml has them

_SECTIONS = ("Model", "LayerType", "LayerName")
_FLOWS = ("Flows", "Optimizers", "SkipOptimizers")
_TABLE = "fixed<18,8,TRN,WRAP,0>"  # as hls4ml writes it for activations; no table is built here
_SOFTMAX = "fixed<18,8,RND,SAT,0>"  # the same of a softmax, which is computed outside of hardware
_SOFTMAX_TYPES = ("exp_table", "inv_table", "inv_inp", "accum")
_TOP = {
    "OutputDir", "ProjectName", "ProjectDir", "Backend", "Version", "Part", "ClockPeriod", "ClockUncertainty", "IOType",
    "HLSConfig", "WriterConfig", "OnnxModel", "InputData", "OutputPredictions", "Stamp", "InputShapes", "OutputShapes",
}  # fmt: skip


def check_name(name: str, reserved: frozenset[str]) -> Iterator[str]:
    """What is wrong with a project's or stage's name; `reserved` are names of modules, in lower case."""
    where = f"project name {name!r}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        yield f"{where}: no SystemVerilog identifier; use letters A to Z, digits and _, beginning with a letter"
    elif name.lower() in KEYWORDS:
        yield f"{where}: a keyword of SystemVerilog or C++; use another name"
    elif name.lower() in reserved:
        yield f"{where}: a module of the kernel's library has this name; use another name"
    elif name.lower() in _HLS4ML_FILES:
        yield f"{where}: hls4ml writes files or types of this name; use another name"
    if len(name) > LONGEST_NAME:
        yield f"project name {name[:20]!r}...: {len(name)} characters; use at most {LONGEST_NAME}"


def check(hls: Any, convert: Callable[[Any], Any], layer_types: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an `hls_config`, as far as it can be told without the network."""
    if not isinstance(hls, Mapping):
        yield f"hls_config: {hls!r:.100} is no dictionary; begin with hls4ml.utils.config_from_onnx_model"
        return
    for key in hls:
        if key not in (*_SECTIONS, *_FLOWS):
            model = f", as config['Model'][{key!r}]" if key in (*_SETTLED, *_MODEL_KEYS) else ""
            yield f"setting {key}: stands beside {', '.join(_SECTIONS)}, where nothing is read; put it into one{model}"
    for key in _FLOWS:
        if hls.get(key):
            yield f"setting {key}: own flows would go past the checks of the RTL backend; leave it out"
    yield from _keys("Model", hls.get("Model", {}), convert, whole=True)
    for section in ("LayerType", "LayerName"):
        entries = hls.get(section, {})
        if not isinstance(entries, Mapping):
            yield f"setting {section}: {entries!r:.100} is no dictionary; leave it out"
            continue
        for name, entry in entries.items():
            if section == "LayerType" and name not in layer_types:
                yield f"setting LayerType.{name}: hls4ml has no layer type of this name"
            yield from _keys(f"{section}.{name}", entry, convert)


def apply(config: Any, graph: Any, layer_types: Mapping[str, Any], reserved: frozenset[str]) -> None:
    """Check an hls4ml `HLSConfig` of a QONNX `graph` before a node of the model is made.

    Lets the model's ReuseFactor reach the layers. Raises CompileError with every setting that is not honoured, by key.
    """
    settings: dict[str, Any] = config.config
    # hls4ml adds its own layers to these, which are the caller's, who may convert with them again.
    hls = settings["HLSConfig"] = copy.deepcopy(settings["HLSConfig"])
    problems = list(check_name(str(config.get_project_name()), reserved))
    problems += [f"setting {key}: not read by the RTL backend; leave it out" for key in sorted(set(settings) - _TOP)]
    if settings.get("IOType") != "io_stream":
        problems.append(f"setting IOType: {settings.get('IOType')}; the hardware is a stream: use io_type='io_stream'")
    problems += _written(settings)
    convert: Callable[[Any], Any] = config.backend.convert_precision_string
    problems += check(hls, convert, layer_types)
    by_type, by_name = hls.get("LayerType") or {}, hls.get("LayerName") or {}
    for kind, entry in by_type.items():
        problems += _unread_types(f"LayerType.{kind}", entry, kind, convert)
    known = _names(graph)
    for name, entry in by_name.items():
        if name in known:
            problems += _unread_types(f"LayerName.{name}", entry, known[name], convert)
        else:
            layers = ", ".join(node.name for node in graph.node if node.op_type in _WEIGHTED)
            problems.append(f"setting LayerName.{name}: the network has no such layer; those with weights are {layers}")
    seen: dict[str, str] = {}
    for name, entry in by_name.items():
        other = seen.setdefault(name.lower(), name)
        if entry != by_name[other]:
            problems.append(f"settings LayerName of {other} and {name}: hls4ml tells no case apart; rename one layer")
    refuse(problems)
    own = {("LayerName", name): entry for name, entry in by_name.items() if known[name] in _WEIGHTED}
    own |= {("LayerType", kind): entry for kind, entry in by_type.items() if kind in _WEIGHTED}
    _spread_reuse(config, hls, own)


def _written(settings: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the settings that only hls4ml's own project is written with; each may be left out."""
    period, uncertainty, part = (settings.get(key) for key in ("ClockPeriod", "ClockUncertainty", "Part"))
    number = isinstance(period, (int, float)) and not isinstance(period, bool) and 0 < period < math.inf
    if period is not None and not number:
        yield f"setting ClockPeriod (clock_period): {period!r} are no nanoseconds; give a number above 0, such as 10"
    if uncertainty is not None and not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?%", str(uncertainty)):
        yield f"setting ClockUncertainty (clock_uncertainty): {uncertainty!r} is no share, such as '12.5%'"
    if part is not None and not re.fullmatch(r"[A-Za-z0-9_.:+-]+", str(part)):
        yield f"setting Part (part): {part!r} is no device's name, such as 'xck26-sfvc784-2LV-c'"
    writer = settings.get("WriterConfig") or {}
    namespace = writer.get("Namespace")
    if namespace is not None and (
        not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(namespace)) or namespace.lower() in KEYWORDS
    ):
        yield f"setting Namespace (namespace): {namespace!r} is no identifier of C++; use letters A to Z, digits and _"
    if (stream := writer.get("TBOutputStream", "both")) not in ("both", "file", "stdout"):
        yield f"setting TBOutputStream (tb_output_stream): {stream!r} is none of both, file and stdout"


def _unread_types(where: str, entry: Any, kind: str, convert: Callable[[Any], Any]) -> Iterator[str]:
    """Types asked of a layer of this `kind` (of ONNX or hls4ml; empty for inputs and constants) that nothing reads.

    The network's own quantisers and weights say what weights, sums, activations and maps are.
    """
    if not isinstance(entry, Mapping):
        return
    precision = entry.get("Precision", {})
    if not isinstance(precision, Mapping):
        precision = {"": precision}
    tables = {"table": _TABLE, **({name: _SOFTMAX for name in _SOFTMAX_TYPES} if kind == "Softmax" else {})}
    for name, value in precision.items():
        unasked = value == "auto" or (name in tables and str(_converted(convert, value)) == tables[name])
        if not unasked:
            at = f"setting {where}.Precision{f'.{name}' if name else ''}"
            yield f"{at}: {value!r} is not honoured: the network's own quantisers say this type; leave it at 'auto'"


def _converted(convert: Callable[[Any], Any], value: Any) -> Any:
    """What `convert` makes of a type's text, or None of what is none."""
    try:
        return convert(value)
    except Exception:
        return None


def _spread_reuse(config: Any, hls: dict[str, Any], own: Mapping[tuple[str, str], Any]) -> None:
    """Let the model's ReuseFactor reach layers whose own is but the 1 that `config_from_onnx_model` wrote."""
    wanted = (hls.get("Model") or {}).get("ReuseFactor", 1)
    factors = {place: entry["ReuseFactor"] for place, entry in own.items() if "ReuseFactor" in entry}
    if wanted == 1 or not factors:
        return
    ones = sorted(place for place, factor in factors.items() if factor == 1)
    if len(ones) == len(factors):
        parsed = {"LayerName": config.layer_name_rf, "LayerType": config.layer_type_rf}
        for section, name in ones:
            hls[section][name]["ReuseFactor"] = wanted
            parsed[section][name.lower()] = wanted
    elif ones:
        raise CompileError(
            f"setting Model.ReuseFactor: {wanted}, but 1 stands at {', '.join('.'.join(place) for place in ones)}, and "
            f"other numbers at other layers, and the two do not mix; give each layer its own and the model 1, or "
            f"delete the 1s to have {wanted} there"
        )
    elif wanted not in factors.values():
        warnings.warn(
            f"setting Model.ReuseFactor: {wanted} reaches no layer, since each has its own",
            stacklevel=2,
        )


def called(node: Any) -> set[str]:
    """What hls4ml may call a node: by its name, behind a word of its own where that begins with a digit."""
    return {node.name, *(f"{word}{node.name}" for word in (node.op_type.lower(), "onnxoperator"))}


def _names(graph: Any) -> dict[str, str]:
    """hls4ml's name of every node, input and constant of the graph, with its operator."""
    names = {}
    for word, entries in (("inputlayer", graph.input), ("constant", graph.initializer)):
        for entry in entries:
            plain = entry.name.replace(".", "_")
            names[plain] = names[f"{word}{plain}"] = ""
    for node in graph.node:
        names |= dict.fromkeys(called(node), node.op_type)
    return names


def _keys(where: str, entry: Any, convert: Callable[[Any], Any], whole: bool = False) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"setting {where}: {entry!r} is no dictionary"
        return
    for key, value in entry.items():
        at = f"setting {where}.{key}"
        if key == "Precision":
            yield from _types(at, value, convert, whole)
        elif key == "ReuseFactor":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                yield f"{at}: {value!r} is no whole number of at least 1"
        elif key == "Strategy":
            if not isinstance(value, str) or value.lower() not in _STRATEGIES:
                yield f"{at}: {value!r} is no strategy of the RTL backend; use {' or '.join(_STRATEGIES)}"
        elif key in ("Trace", "TraceOutput"):  # hls4ml's C++ does it
            if not isinstance(value, bool):
                yield f"{at}: {value!r} is neither True nor False"
        else:
            settled = _SETTLED.get(key, ()) if whole or key not in _MODEL_ONLY else ()
            if not any(value is other or value == other for other in settled):
                only = f"; leave it at {settled[0]!r}" if settled else "; leave it out"
                yield f"{at}: {value!r} is not honoured by the RTL backend{only}"


def _types(at: str, value: Any, convert: Callable[[Any], Any], whole: bool) -> Iterator[str]:
    """What is wrong with a Precision: one type, or types by name."""
    types = value if isinstance(value, Mapping) else {"": value}
    if whole and isinstance(value, Mapping) and "default" not in value:
        yield f"{at}: has no default, which hls4ml needs; give one, such as 'fixed<32,16>'"
    for name, precision in types.items():
        called = f"{at}{f'.{name}' if name else ''}"
        if whole and name not in ("", "default", "maximum"):
            yield f"{called}: {precision!r} is not honoured for all layers; leave it out, or give it at a layer"
            continue
        try:
            convert(precision)
        except Exception as error:
            yield f"{called}: {precision!r} is no type of hls4ml ({error})"
            continue
        if whole and str(precision).lower() == "auto":  # hls4ml would look for it for ever
            yield f"{called}: 'auto' is for layers; give the model a type, such as 'fixed<32,16>'"


# Keys that hls4ml's own configurations carry and that this backend does not read: only these values may stand there.
_SETTLED: dict[str, tuple[Any, ...]] = {
    "Algorithm": ("nearest",),
    "BramFactor": (1_000_000_000,),
    "BitExact": (None, False),
    "ConvImplementation": ("LineBuffer",),
    "Compression": (False,),
    "Implementation": ("stable", "legacy", "latency"),  # hls4ml's softmaxes: here it is computed outside of hardware
    "ParallelizationFactor": (1,),
    "PipelineStyle": ("auto",),
    "Skip": (False,),
    "PipelineInterval": (None,),
    "TableSize": (1024,),
    "TargetCycles": (None,),
}
_MODEL_KEYS = ("Precision", "ReuseFactor", "Strategy", "TraceOutput")
_MODEL_ONLY = ("BramFactor", "BitExact", "PipelineStyle", "PipelineInterval")
