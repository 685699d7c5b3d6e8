#include "program/verify.h"

#include "base/error.h"
#include "base/format.h"

namespace phlox {

namespace {

size_t count_tensors(const HostAttr& a) {
  size_t n = a.kind == HostAttr::Kind::tensor;
  for (const HostAttr& i : a.items) n += count_tensors(i);
  return n;
}

class Checker {
 public:
  explicit Checker(const Program& p) : p_(p), written_(p.buffers.size()) {}

  std::string run() {
    if (p_.output_alias.size() != p_.outputs.size()) return cat(p_.output_alias.size(), " aliases for ", p_.outputs.size(), " outputs");
    for (size_t i = 0; i < p_.outputs.size(); ++i)
      if (p_.output_alias[i] >= int64_t(p_.inputs.size())) return cat("output ", i, " is input ", p_.output_alias[i], ", which does not exist");
    for (size_t b = 0; b < p_.buffers.size(); ++b) {
      const Program::Buffer& buffer = p_.buffers[b];
      const size_t limit = buffer.kind == Kind::input ? p_.inputs.size() : buffer.kind == Kind::output ? p_.outputs.size() : ~size_t(0);
      if (buffer.index >= limit) return cat("buffer ", b, " is argument ", buffer.index, ", which does not exist");
    }
    for (uint32_t i = 0; i < p_.steps.size(); ++i)
      if (std::string t = step(i, p_.steps[i]); !t.empty()) return cat("step ", i, " (", p_.steps[i].name, ") ", t);
    for (size_t b = 0; b < p_.buffers.size(); ++b)
      if (p_.buffers[b].kind == Kind::output && !written_[b]) return cat("output ", p_.buffers[b].index, " is never written");
    return {};
  }

 private:
  using Kind = Program::Buffer::Kind;
  using StepKind = Program::Step::Kind;

  std::string step(uint32_t number, const Program::Step& s) {
    for (uint32_t b : s.buffers) {
      if (b >= p_.buffers.size()) return cat("uses buffer ", b, ", which does not exist");
      const Program::Buffer& buffer = p_.buffers[b];
      if (buffer.kind == Kind::temp && (number < buffer.first_step || number > buffer.last_step))
        return cat("uses buffer ", b, ", which lives from step ", buffer.first_step, " to ", buffer.last_step);
    }
    if (s.kind == StepKind::copy) {
      if (s.buffers.size() != 2) return cat("copies with ", s.buffers.size(), " buffers");
      if (std::string t = read(s.buffers[1]); !t.empty()) return t;
      return write(s.buffers[0]);
    }
    if (s.kind == StepKind::native) {
      size_t operands = 0;
      for (const HostAttr& a : s.args) operands += count_tensors(a);
      if (operands > s.buffers.size()) return cat("has ", operands, " operands and ", s.buffers.size(), " buffers");
      const size_t results = s.buffers.size() - operands;
      for (size_t i = results; i < s.buffers.size(); ++i) if (std::string t = read(s.buffers[i]); !t.empty()) return t;
      for (size_t i = 0; i < results; ++i) if (std::string t = write(s.buffers[i]); !t.empty()) return t;
      return {};
    }
    return launch(s);
  }

  std::string launch(const Program::Step& s) {
    if (s.kernel >= p_.kernels.size()) return cat("launches kernel ", s.kernel, ", which does not exist");
    if (s.rows == 0 || s.buffers.size() % s.rows) return cat("has ", s.buffers.size(), " buffers for ", s.rows, " calls");
    const size_t each = s.buffers.size() / s.rows;
    if (s.inputs > each) return cat("reads ", s.inputs, " of ", each, " buffers");
    for (const Program::KernelWord& w : p_.kernels[s.kernel].words) {
      if (w.kind != Program::KernelWord::Kind::pointer && w.kind != Program::KernelWord::Kind::number) continue;
      if (w.param >= each) return cat("has ", each, " buffers, its kernel uses number ", w.param);
      if (w.kind == Program::KernelWord::Kind::number)
        for (size_t row = 0; row < s.rows; ++row)
          if (p_.buffers[s.buffers[row * each + w.param]].kind != Kind::input) return "reads a number that is no input";
    }
    for (size_t row = 0; row < s.rows; ++row)
      for (size_t i = 0; i < s.inputs; ++i) if (std::string t = read(s.buffers[row * each + i]); !t.empty()) return t;
    for (size_t row = 0; row < s.rows; ++row)
      for (size_t i = s.inputs; i < each; ++i) if (std::string t = write(s.buffers[row * each + i]); !t.empty()) return t;
    return {};
  }

  std::string read(uint32_t b) const {
    return p_.buffers[b].kind == Kind::input || written_[b] ? std::string() : cat("reads buffer ", b, " before it is written");
  }
  std::string write(uint32_t b) {
    written_[b] = true;
    if (p_.buffers[b].kind != Kind::input) return {};
    for (int32_t input : p_.output_alias) if (input == int32_t(p_.buffers[b].index)) return {};
    return cat("writes input ", p_.buffers[b].index, ", of which no output is the new value");
  }

  const Program& p_;
  std::vector<bool> written_;
};

}  // namespace

std::string program_defect(const Program& p) { return Checker(p).run(); }

void verify_program(const Program& p) {
  const std::string defect = program_defect(p);
  PHLOX_CHECK(defect.empty(), defect);
}

}  // namespace phlox
