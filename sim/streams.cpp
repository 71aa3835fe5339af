// Drives several modules of one Verilated top, each with one stream in and some out, under stalls, and holds what comes
// out against what is expected. `streams.inc` lists the modules' ports; it is generated with the top.
//
// streams FOLDER FRAMES SEED RUNS LIMIT: for module <name> the folder has <name>.in and <name>.out0, .out1, ...: beats
// in the order in which they pass, each in whole bytes, lowest first, FRAMES frames of them. A run with a number from 1 on
// stalls as the seed and the number say; run 0 never stalls. A module that has stood still for LIMIT cycles is given up.
// For each module and run a line of JSON is printed.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vseveral.h"
#include "verilated.h"

namespace {

struct Port {
  CData* valid;
  CData* ready;
  void* data;
  size_t size;  // bytes of the port's variable
  size_t bits;
};

struct Module {
  const char* name;
  Port in;
  std::vector<Port> out;
};

std::vector<Module> modules(Vseveral* top) {
  return {
#include "streams.inc"
  };
}

struct Random {
  uint64_t state;
  uint32_t below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>((state * 0x2545F4914F6CDD1DULL) >> 33) % limit;
  }
};

// When one side of a stream stands still.
struct Stall {
  enum Kind { kNever, kOften, kBursts, kLateStart, kRare } kind = kNever;
  uint32_t chance = 0;  // in 100
  long left = 0;        // cycles of the burst at hand
  bool still = false;

  static Stall draw(Random& random) {
    Stall stall;
    stall.kind = static_cast<Kind>(random.below(5));
    stall.chance = 10 + random.below(85);
    if (stall.kind == kLateStart) stall.left = 200 + random.below(3000), stall.still = true;
    return stall;
  }
  bool now(Random& random) {
    switch (kind) {
      case kNever: return false;
      case kOften: return random.below(100) < chance;
      case kRare: return random.below(40) != 0;  // goes on in one of forty cycles
      case kLateStart:
        if (left > 0) left--;
        return left > 0;
      case kBursts:
        if (left-- <= 0) {
          still = !still;
          left = 1 + random.below(still ? 120 : 60);
        }
        return still;
    }
    return false;
  }
  const char* name() const {
    static const char* names[] = {"never", "often", "bursts", "late", "rare"};
    return names[kind];
  }
};

std::vector<uint8_t> read(const std::string& path) {
  std::vector<uint8_t> content;
  FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    std::exit(3);
  }
  uint8_t block[65536];
  size_t count;
  while ((count = std::fread(block, 1, sizeof block, file)) > 0) content.insert(content.end(), block, block + count);
  std::fclose(file);
  return content;
}

// A port with the beats that pass it.
struct Flow {
  Port port;
  std::vector<uint8_t> beats;
  size_t bytes, count, done = 0;
  Stall stall;
  bool offered = false;         // in: a beat is on offer; out: one waited in the cycle before
  std::vector<uint8_t> waiting;  // out: that beat

  Flow(const Port& which, const std::string& path) : port(which), beats(read(path)), bytes((which.bits + 7) / 8) {
    count = beats.size() / bytes;
  }
  const uint8_t* beat() const { return beats.data() + done * bytes; }
};

struct Bench {
  const char* name;
  Flow in;
  std::vector<Flow> out;
  Random random;
  long idle = 0, cycles = 0;
  std::vector<long> frame_ends;  // cycles at which output 0 ended a frame
  std::string error;

  bool complete() const {
    for (const Flow& flow : out)
      if (flow.done < flow.count) return false;
    return in.done == in.count;
  }

  void drive() {
    if (!in.offered) in.offered = in.done < in.count && !in.stall.now(random);
    *in.port.valid = in.offered;
    if (in.offered) std::memcpy(in.port.data, in.beat(), in.bytes);
    for (Flow& flow : out) *flow.port.ready = !flow.stall.now(random);
  }

  void observe(long cycle, size_t frames) {
    idle++;
    for (size_t k = 0; k < out.size(); k++) {
      Flow& flow = out[k];
      const auto* shown = static_cast<const uint8_t*>(flow.port.data);
      if (!*flow.port.valid) {
        if (flow.offered) fail("valid dropped while a beat waited", k, flow);
        flow.offered = false;
        continue;
      }
      if (flow.offered && std::memcmp(shown, flow.waiting.data(), flow.bytes)) fail("a waiting beat changed", k, flow);
      flow.offered = !*flow.port.ready;
      flow.waiting.assign(shown, shown + flow.bytes);
      if (!*flow.port.ready) continue;
      idle = 0;
      if (flow.done == flow.count) {
        fail("a beat too many", k, flow);
        continue;
      }
      if (std::memcmp(shown, flow.beat(), flow.bytes)) fail("a wrong beat", k, flow);
      flow.done++;
      if (k == 0 && flow.done % (flow.count / frames) == 0) frame_ends.push_back(cycle);
    }
    if (in.offered && *in.port.ready) {
      in.done++;
      in.offered = false;
      idle = 0;
    }
    if (!complete()) cycles = cycle + 1;
  }

  void fail(const char* what, size_t k, const Flow& flow) {
    if (error.empty()) error = std::string(what) + ": beat " + std::to_string(flow.done) + " of output " + std::to_string(k);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s FOLDER FRAMES SEED RUNS LIMIT\n", argv[0]);
    return 3;
  }
  const std::string folder = argv[1];
  const size_t frames = std::strtoul(argv[2], nullptr, 10);
  const uint64_t seed = std::strtoull(argv[3], nullptr, 10);
  const long runs = std::atol(argv[4]), limit = std::atol(argv[5]);
  for (long run = 0; run < runs; run++) {
    // Registers without a reset and memories begin with anything.
    auto context = std::make_unique<VerilatedContext>();
    context->randReset(2);
    context->randSeed(static_cast<int>(seed * 1000003 + run) & 0x7fffffff);
    auto top = std::make_unique<Vseveral>(context.get());
    std::vector<Bench> benches;
    for (const Module& module : modules(top.get())) {
      const std::string path = folder + "/" + module.name;
      Bench bench{module.name, Flow(module.in, path + ".in"), {}, {0}};
      for (size_t k = 0; k < module.out.size(); k++) bench.out.emplace_back(module.out[k], path + ".out" + std::to_string(k));
      bench.random.state = (seed + 1) * 0x9E3779B97F4A7C15ULL ^ (run + 1) * 0xBF58476D1CE4E5B9ULL ^ benches.size() * 0x94D049BB133111EBULL;
      bench.random.below(2);
      if (run > 0) {
        bench.in.stall = Stall::draw(bench.random);
        for (Flow& flow : bench.out) flow.stall = Stall::draw(bench.random);
      }
      benches.push_back(std::move(bench));
    }
    top->rst_ni = 0;
    for (int half = 0; half < 8; half++) {
      top->clk_i = half & 1;
      top->eval();
    }
    top->rst_ni = 1;
    bool going = true;
    long grace = 64;  // cycles in which nothing more may come
    for (long cycle = 0; going || grace-- > 0; cycle++) {
      top->clk_i = 0;
      for (Bench& bench : benches) bench.drive();
      top->eval();
      going = false;
      for (Bench& bench : benches) {
        bench.observe(cycle, frames);
        going |= !bench.complete() && bench.idle < limit;
      }
      top->clk_i = 1;
      top->eval();
    }
    for (Bench& bench : benches) {
      if (bench.error.empty() && !bench.complete()) {
        bench.error = "stands still: " + std::to_string(bench.in.done) + " of " + std::to_string(bench.in.count) + " beats taken, " +
                      std::to_string(bench.out[0].done) + " of " + std::to_string(bench.out[0].count) + " given";
      }
      const std::vector<long>& ends = bench.frame_ends;
      const double interval = ends.size() > 1 ? double(ends.back() - ends.front()) / (ends.size() - 1) : -1.0;
      std::string stalls = bench.in.stall.name();
      for (const Flow& flow : bench.out) stalls += std::string(" ") + flow.stall.name();
      std::printf("{\"module\": \"%s\", \"run\": %ld, \"error\": \"%s\", \"cycles\": %ld, \"interval\": %.2f, \"stalls\": \"%s\"}\n",
                  bench.name, run, bench.error.c_str(), bench.cycles, interval, stalls.c_str());
    }
    std::fflush(stdout);
    top->final();
  }
  return 0;
}
