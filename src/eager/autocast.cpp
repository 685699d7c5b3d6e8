#include "eager/autocast.h"

#include <unordered_map>

#include "eager/call.h"
#include "eager/trace.h"

namespace phlox {

namespace {

struct Cached {
  Tensor leaf, cast;
  uint32_t version;
  bool recorded;  // gradients were on
};
struct ThreadState {
  AutocastState kinds[2] = {{}, {false, DType::f16}};
  bool any = false, busy = false;
  std::unordered_map<TensorImpl*, Cached> leaves;
};
ThreadState& state() {
  static thread_local ThreadState s;
  return s;
}

// While the casts themselves are called.
struct Busy {
  ThreadState& s;
  explicit Busy(ThreadState& s) : s(s) { s.busy = true; }
  ~Busy() { s.busy = false; }
};

bool eligible(const TensorImpl& t, const ThreadState& s) {
  return is_float(t.dtype) && t.dtype != DType::f64 && dtype_bytes(t.dtype) >= 2 && s.kinds[size_t(t.device().id().kind)].on;
}

Tensor cast_to(ThreadState& s, TensorImpl* t, DType d) {
  const bool leaf = t->requires_grad && is_leaf(*t) && !Tracer::current();
  if (leaf)
    if (auto it = s.leaves.find(t); it != s.leaves.end()) {
      const Cached& c = it->second;
      if (c.cast->dtype == d && c.recorded == grad_enabled() && c.version == t->storage->version.load(std::memory_order_relaxed))
        return c.cast;
    }
  const Busy busy(s);
  const Tensor self = Tensor::share(t);
  const Tensor r = call1("prim::cast", {tensor_arg(self), Arg::of_dtype(d)});
  if (leaf) s.leaves[t] = {self, r, t->storage->version.load(std::memory_order_relaxed), grad_enabled()};
  return r;
}

DType wanted(const OpInfo& op, std::span<const Arg> args, const ThreadState& s) {
  DType widest = DType::f16;
  bool f32 = false, bf16 = false, f16 = false;
  DType lower = DType::bf16;
  const auto look = [&](auto&& self, const Arg& a) -> void {
    if (a.kind == ArgKind::list) for (const Arg& i : a.items()) self(self, i);
    if (a.kind != ArgKind::value) return;
    const TensorImpl& t = *reinterpret_cast<TensorImpl*>(a.bits);
    if (!eligible(t, s)) return;
    lower = s.kinds[size_t(t.device().id().kind)].dtype;
    f32 |= t.dtype == DType::f32;
    bf16 |= t.dtype == DType::bf16;
    f16 |= t.dtype == DType::f16;
  };
  for (const Arg& a : args) look(look, a);
  switch (op.op->record.autocast) {
    case Autocast::lower: return lower;
    case Autocast::promote: widest = f32 || (bf16 && f16) ? DType::f32 : bf16 ? DType::bf16 : DType::f16; return widest;
    default: return DType::f32;
  }
}

}  // namespace

AutocastState autocast_state(DeviceKind kind) { return state().kinds[size_t(kind)]; }
void set_autocast_state(DeviceKind kind, AutocastState s) {
  ThreadState& t = state();
  t.kinds[size_t(kind)] = s;
  t.any = t.kinds[0].on || t.kinds[1].on;
  if (!s.on) t.leaves.clear();
}
uint64_t autocast_key() {
  const ThreadState& s = state();
  uint64_t k = 0;
  for (const AutocastState& a : s.kinds) k = k << 8 | (a.on ? uint64_t(a.dtype) + 1 : 0);
  return k;
}
bool autocast_on() {
  const ThreadState& s = state();
  return s.any && !s.busy;
}

std::span<const Arg> autocast_args(const OpInfo& op, std::span<const Arg> args, ArgMap& memory, std::vector<Tensor>& keep) {
  if (op.op->record.autocast == Autocast::none) return {};
  ThreadState& s = state();
  const DType to = wanted(op, args, s);
  bool changed = false;
  const std::span<const Arg> cast = memory.each(args, [&](const Arg& a) {
    if (a.kind != ArgKind::value) return a;
    TensorImpl* t = reinterpret_cast<TensorImpl*>(a.bits);
    if (t->dtype == to || !eligible(*t, s)) return a;
    changed = true;
    keep.push_back(cast_to(s, t, to));
    return tensor_arg(keep.back());
  });
  return changed ? cast : std::span<const Arg>();
}

}  // namespace phlox
