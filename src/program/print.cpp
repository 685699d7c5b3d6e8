// A Program for people: inputs, outputs and steps with the buffers that they touch.
#include "base/format.h"
#include "program/program.h"

namespace phlox {

namespace {

std::string buffer_text(const Program& p, uint32_t b) {
  const Program::Buffer& buffer = p.buffers[b];
  switch (buffer.kind) {
    case Program::Buffer::Kind::input: return cat("in", buffer.index);
    case Program::Buffer::Kind::output: return cat("out", buffer.index);
    case Program::Buffer::Kind::temp: break;
  }
  return cat("t", b, "(", buffer.bytes, ")");
}

}  // namespace

std::string print_program(const Program& p) {
  std::string s;
  for (size_t i = 0; i < p.inputs.size(); ++i) s += cat("in", i, ": ", p.inputs[i].type, "\n");
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    s += cat("out", i, ": ", p.outputs[i]);
    if (p.output_alias[i] >= 0) s += cat(" = in", p.output_alias[i]);
    s += "\n";
  }
  for (const Program::Step& step : p.steps) {
    switch (step.kind) {
      case Program::Step::Kind::launch: s += cat("launch ", p.kernels[step.kernel].entry, " ", step.name); break;
      case Program::Step::Kind::copy: s += cat("copy ", step.bytes, " bytes"); break;
      case Program::Step::Kind::native: s += cat("native ", step.name); break;
    }
    for (uint32_t b : step.buffers) s += " " + buffer_text(p, b);
    if (step.kind == Program::Step::Kind::native && !step.sizes.empty()) {
      s += " [";
      for (size_t i = 0; i < step.sizes.size(); ++i) s += cat(i ? "," : "", step.sizes[i]);
      s += "]";
    }
    if (step.kind == Program::Step::Kind::launch) s += cat(" x", p.kernels[step.kernel].items, "*", p.kernels[step.kernel].threads);
    s += "\n";
  }
  return s;
}

}  // namespace phlox
