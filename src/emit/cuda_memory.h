// How CUDA spells memory: single elements, and contiguous lanes as accesses of up to 16 bytes, packed and unpacked in
// registers.
#pragma once
#include "emit/cuda_helpers.h"
#include "emit/printer.h"

namespace phlox {

class CudaMemory : public Printer {
 public:
  using Printer::Printer;

 protected:
  std::string type_name(KType t) override { return is_bool(t.dtype) ? "bool" : scalar_type(t.dtype); }
  static int lanes(const KInst& i) { return i.type.lanes; }
  std::string o(const KInst& i, int n, int part = 0) const { return name(i.operand[n], part); }
  std::string use(const cuda_text::Helper& h) { helper(h.name, h.text); return h.name; }
  static std::string bit_cast(DType from, DType to, const std::string& x);
  void load(KValue v);
  void store(const KInst& i);

 private:
  std::string at(const KInst& i, int lane);           // the element of a lane
  std::string guard(const KInst& i, int lane) const;  // of a lane; empty: none
};

}  // namespace phlox
