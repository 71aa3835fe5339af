// The Verilated kernel behind a C interface, loaded by host/fabric/verilated.py. It has no notion of registers, frames
// or records: it moves 64-bit beats and 32-bit register words, at one beat a cycle, by the buses' own handshakes.
//
// Every cycle: drive the inputs, let logic settle with the clock low, note which handshakes the rising edge will take,
// raise the clock.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "Vkernel.h"
#include "verilated.h"

namespace {

constexpr uint32_t kAbi = 3;            // changes with anything that the other side of this interface must know
constexpr int kRegisterTimeout = 1000;  // cycles that an AXI4-Lite access may take
constexpr uint32_t kMaxStages = 4;

template <typename T>
typename std::enable_if<std::is_integral<T>::value, uint32_t>::type word(const T& port, size_t index) {
    return static_cast<uint32_t>(static_cast<uint64_t>(port) >> (32 * index));
}
template <std::size_t N>
uint32_t word(const VlWide<N>& port, size_t index) {
    return port[index];
}

// Signed field `index` of `width` (at most 32) bits in a port.
template <typename T>
int32_t signed_field(const T& port, size_t index, uint32_t width) {
    const size_t low = index * width, high = low + width - 1;
    uint64_t bits = word(port, low / 32);
    if (high / 32 != low / 32) bits |= static_cast<uint64_t>(word(port, high / 32)) << 32;
    const uint32_t left = 32 - width;
    return static_cast<int32_t>(static_cast<uint32_t>(bits >> (low % 32)) << left) >> left;
}

// The folder that this library lies in: beside it are the contents of the weight memories.
std::string folder() {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(&folder), &info);
    const std::string library(info.dli_fname);
    return library.substr(0, library.rfind('/'));
}

struct Kernel {
    VerilatedContext context;
    Vkernel top{&context};
    const uint32_t stages, classes, width, record_beats;  // width: bits of a logit, of the widest stage

    Kernel(uint32_t stages_, uint32_t classes_, uint32_t width_, uint32_t record_beats_)
        : stages(stages_), classes(classes_), width(width_), record_beats(record_beats_) {
        const std::string memories = "+edgesight_memories=" + folder();
        const char* arguments[] = {"kernel", memories.c_str()};
        context.commandArgs(2, arguments);
        reset();
    }
    ~Kernel() { top.final(); }

    void settle() {
        top.clk_i = 0;
        top.eval();
    }
    void edge() {
        top.clk_i = 1;
        top.eval();
    }
    void reset() {
        top.s_axis_tdata = 0;
        top.s_axis_tkeep = 0;
        top.s_axis_tvalid = 0;
        top.s_axis_tlast = 0;
        top.m_axis_tready = 0;
        top.s_axil_awaddr = 0;
        top.s_axil_awvalid = 0;
        top.s_axil_wdata = 0;
        top.s_axil_wstrb = 0;
        top.s_axil_wvalid = 0;
        top.s_axil_bready = 0;
        top.s_axil_araddr = 0;
        top.s_axil_arvalid = 0;
        top.s_axil_rready = 0;
        for (int cycle = 0; cycle < 16; ++cycle) {
            top.rst_ni = cycle >= 8;
            settle();
            edge();
        }
    }
};

}  // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

// One run; `Run` in host/fabric/verilated.py has the same fields. The last three start at 0 and let a run go on.
struct Run {
    const uint64_t* data;   // [beats]
    const uint8_t* keep;    // [beats]
    const uint8_t* last;    // [beats]
    uint64_t beats;
    uint64_t* records;      // [record_beats * expected]
    uint64_t expected;      // records to wait for
    int32_t* logits[kMaxStages];    // null, or [tags * classes]: what the stage's tap showed, by tag
    uint64_t* stamps[kMaxStages];   // null, or [tags]: the run's cycle of it
    uint64_t tags;          // taps with a tag from here on are passed over; 0 where stamps are null
    uint64_t sent;          // beats accepted
    uint64_t received;      // beats of records
    uint64_t cycles;        // simulated
    // Register writes that go on beside frames and records, one after the other, as a processor does them.
    const uint32_t* writes;         // [2 * write_count]: address, value
    uint64_t write_count;
    uint64_t write_from;    // beats of records after which they begin
    uint64_t written;       // answered
    uint64_t write_started, write_ended;  // the run's cycles of the first and of the last answer
};

EXPORT uint32_t kernel_abi() { return kAbi; }

// A kernel fresh from reset.
EXPORT void* kernel_open(uint32_t stages, uint32_t classes, uint32_t width, uint32_t record_beats) {
    return new Kernel(stages, classes, width, record_beats);
}

EXPORT void kernel_close(void* handle) { delete static_cast<Kernel*>(handle); }

EXPORT void kernel_reset(void* handle) { static_cast<Kernel*>(handle)->reset(); }

// Read or write one register over AXI4-Lite; returns the cycles it took, or -1 where the kernel does not answer.
EXPORT int32_t kernel_read(void* handle, uint32_t address, uint32_t* value) {
    Kernel& kernel = *static_cast<Kernel*>(handle);
    Vkernel& top = kernel.top;
    top.s_axil_araddr = address;
    top.s_axil_arvalid = 1;
    top.s_axil_rready = 1;
    int32_t cycle = 0;
    bool answered = false;
    for (; cycle < kRegisterTimeout && !answered; ++cycle) {
        kernel.settle();
        const bool asked = top.s_axil_arvalid && top.s_axil_arready;
        answered = top.s_axil_rvalid;
        if (answered) *value = top.s_axil_rdata;
        kernel.edge();
        if (asked) top.s_axil_arvalid = 0;
    }
    top.s_axil_arvalid = 0;
    top.s_axil_rready = 0;
    return answered ? cycle : -1;
}

EXPORT int32_t kernel_write(void* handle, uint32_t address, uint32_t value) {
    Kernel& kernel = *static_cast<Kernel*>(handle);
    Vkernel& top = kernel.top;
    top.s_axil_awaddr = address;
    top.s_axil_awvalid = 1;
    top.s_axil_wdata = value;
    top.s_axil_wstrb = 0xF;
    top.s_axil_wvalid = 1;
    top.s_axil_bready = 1;
    int32_t cycle = 0;
    bool answered = false;
    for (; cycle < kRegisterTimeout && !answered; ++cycle) {
        kernel.settle();
        const bool address_taken = top.s_axil_awvalid && top.s_axil_awready;
        const bool data_taken = top.s_axil_wvalid && top.s_axil_wready;
        answered = top.s_axil_bvalid;
        kernel.edge();
        if (address_taken) top.s_axil_awvalid = 0;
        if (data_taken) top.s_axil_wvalid = 0;
    }
    top.s_axil_awvalid = 0;
    top.s_axil_wvalid = 0;
    top.s_axil_bready = 0;
    return answered ? cycle : -1;
}

// The handshakes of the register write that is under way in a run, in one cycle before the edge; what is taken then.
struct Taken {
    bool address, data, answer;
};
static Taken offer_write(Vkernel& top, const Run& run) {
    if (run.written == run.write_count || run.received < run.write_from) return {false, false, false};
    return {top.s_axil_awvalid && top.s_axil_awready, top.s_axil_wvalid && top.s_axil_wready,
            top.s_axil_bready && top.s_axil_bvalid};
}

// Begin the next write of a run where none is under way.
static void begin_write(Vkernel& top, Run& run, bool& writing) {
    if (writing || run.written == run.write_count || run.received < run.write_from) return;
    top.s_axil_awaddr = run.writes[2 * run.written];
    top.s_axil_wdata = run.writes[2 * run.written + 1];
    top.s_axil_wstrb = 0xF;
    top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = 1;
    if (run.written == 0) run.write_started = run.cycles;
    writing = true;
}

// Simulate at most `limit` more cycles of a run; returns 1 when all expected records are there, else 0. Between two calls
// of one run the kernel is left alone: a beat may be on offer, and a register access would let cycles pass unseen.
EXPORT int32_t kernel_run(void* handle, Run* run, uint64_t limit) {
    Kernel& kernel = *static_cast<Kernel*>(handle);
    Vkernel& top = kernel.top;
    const uint64_t last_cycle = run->cycles + limit, wanted = kernel.record_beats * run->expected;
    const uint32_t classes = kernel.classes;
    bool offering = false, writing = false;
    top.m_axis_tready = 1;
    while ((run->cycles < last_cycle || writing) && run->received < wanted) {
        begin_write(top, *run, writing);
        if (!offering && run->sent < run->beats) {
            top.s_axis_tdata = run->data[run->sent];
            top.s_axis_tkeep = run->keep[run->sent];
            top.s_axis_tlast = run->last[run->sent];
            top.s_axis_tvalid = 1;
            offering = true;
        }
        kernel.settle();
        const bool accepted = offering && top.s_axis_tready;
        if (top.m_axis_tvalid) run->records[run->received++] = top.m_axis_tdata;
        for (uint32_t stage = 0; run->tags && stage < kernel.stages; ++stage) {
            const uint64_t tag = word(top.tap_tag_o, stage);
            if (!(top.tap_valid_o >> stage & 1) || tag >= run->tags) continue;
            run->stamps[stage][tag] = run->cycles;
            for (uint32_t c = 0; run->logits[stage] && c < classes; ++c)
                run->logits[stage][tag * classes + c] =
                    signed_field(top.tap_logits_o, stage * classes + c, kernel.width);
        }
        const Taken taken = offer_write(top, *run);
        kernel.edge();
        ++run->cycles;
        if (taken.address) top.s_axil_awvalid = 0;
        if (taken.data) top.s_axil_wvalid = 0;
        if (taken.answer) {
            top.s_axil_bready = 0;
            writing = false;
            run->write_ended = run->cycles;
            ++run->written;
        }
        if (accepted) {
            ++run->sent;
            offering = false;
            if (run->sent == run->beats) top.s_axis_tvalid = 0;
        }
    }
    // A beat on offer stays so, until the run goes on or is reset: valid never drops.
    top.m_axis_tready = 0;
    return run->received == wanted ? 1 : 0;
}

}  // extern "C"
