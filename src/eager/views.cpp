#include "eager/views.h"

#include "base/checked.h"

#include "eager/trace.h"
#include "ops/registry.h"

namespace phlox {

bool view_strides(const Ints& sizes, const Ints& strides, const Ints& shape, Ints& out) {
  out = Ints(shape.size());
  int64_t total = 1;
  for (int64_t n : shape) total *= n;
  if (total == 0) { out = contiguous_strides(shape); return true; }
  // Runs of old dims that are dense among themselves are cut into new dims, from the last to the first.
  int j = int(shape.size()) - 1;
  int64_t step = sizes.empty() ? 1 : strides.back(), old_run = 1, new_run = 1;
  for (int i = int(sizes.size()) - 1; i >= 0; --i) {
    old_run *= sizes[i];
    const bool ends = i == 0 || (sizes[i - 1] != 1 && strides[i - 1] != old_run * step);
    if (!ends) continue;
    while (j >= 0 && (new_run < old_run || shape[j] == 1)) {
      out[j] = new_run * step;
      new_run *= shape[j--];
    }
    if (new_run != old_run) return false;
    if (i > 0) { step = strides[i - 1]; old_run = new_run = 1; }
  }
  for (; j >= 0; --j) out[j] = new_run * step;
  return true;
}

namespace {

struct Placed { bool known = false; int64_t offset = 0; Ints sizes, strides; };

class ViewWalker {
 public:
  ViewWalker(const Graph& g, const Ints& symbols) : g_(g), symbols_(symbols), at_(g.value_count()) {}

  bool walk(const TensorImpl& base) {
    at_[g_.inputs()[0]] = {true, base.offset, base.sizes, base.strides};
    for (const Node& n : g_.nodes()) {
      if (n.args.empty() || n.args[0].kind != ArgKind::value || !at_[n.args[0].value].known) continue;
      Placed p = at_[n.args[0].value];
      p.known = step(n, p);
      at_[n.results[0]] = p;
    }
    for (GraphValue v : g_.outputs()) if (!at_[v].known) return false;
    return true;
  }
  const Placed& of(GraphValue v) const { return at_[v]; }

 private:
  int64_t num(const Arg& a) const { return evaluate(a.as_dim(), symbols_); }
  Ints list(const Arg& a) const {
    Ints r;
    for (const Arg& i : a.items()) r.push_back(num(i));
    return r;
  }

  bool step(const Node& n, Placed& p) const {
    const std::string& name = n.op->schema.name;
    if (name == "prim::stop_gradient" || name == "prim::bitcast") return true;
    if (name == "prim::permute") {
      const Placed from = p;
      const Ints perm = list(n.args[1]);
      for (size_t k = 0; k < perm.size(); ++k) { p.sizes[k] = from.sizes[perm[k]]; p.strides[k] = from.strides[perm[k]]; }
      return true;
    }
    if (name == "prim::broadcast") {
      const Placed from = p;
      const Ints shape = list(n.args[1]), dims = list(n.args[2]);
      p.sizes = shape;
      p.strides = Ints(shape.size());
      for (size_t k = 0; k < dims.size(); ++k)
        p.strides[dims[k]] = from.sizes[k] == 1 && shape[dims[k]] != 1 ? 0 : from.strides[k];
      return true;
    }
    if (name == "prim::reshape") {
      const Ints shape = list(n.args[1]);
      Ints strides;
      if (!view_strides(p.sizes, p.strides, shape, strides)) return false;
      p.sizes = shape;
      p.strides = strides;
      return true;
    }
    if (name == "prim::slice") {
      const int64_t d = num(n.args[1]), start = num(n.args[2]), count = num(n.args[3]), by = num(n.args[4]);
      if (count > 0) p.offset += start * p.strides[d];
      p.sizes[d] = count;
      p.strides[d] *= by;
      return true;
    }
    if (name == "prim::unfold") {
      const int64_t d = num(n.args[1]), size = num(n.args[2]), by = num(n.args[3]), dilation = num(n.args[4]);
      p.sizes.push_back(size);
      p.strides.push_back(p.strides[d] * dilation);
      p.sizes[d] = (p.sizes[d] - (size - 1) * dilation - 1) / by + 1;
      p.strides[d] *= by;
      return true;
    }
    if (name == "prim::diagonal") {
      const int64_t d1 = num(n.args[1]), d2 = num(n.args[2]), off = num(n.args[3]);
      const int64_t rows = p.sizes[d1] + (off < 0 ? off : 0), cols = p.sizes[d2] - (off > 0 ? off : 0);
      const int64_t count = std::max<int64_t>(0, std::min(rows, cols)), stride = p.strides[d1] + p.strides[d2];
      if (count > 0) p.offset += off > 0 ? off * p.strides[d2] : -off * p.strides[d1];
      p.sizes.erase(size_t(std::max(d1, d2)));
      p.strides.erase(size_t(std::max(d1, d2)));
      p.sizes.erase(size_t(std::min(d1, d2)));
      p.strides.erase(size_t(std::min(d1, d2)));
      p.sizes.push_back(count);
      p.strides.push_back(stride);
      return true;
    }
    if (name == "prim::as_strided") {  // of the storage, whatever the base's own place in it
      p.sizes = list(n.args[1]);
      p.strides = list(n.args[2]);
      if (!n.args[3].is_none()) p.offset = num(n.args[3]);
      return true;
    }
    return false;
  }

  const Graph& g_;
  const Ints& symbols_;
  std::vector<Placed> at_;
};

}  // namespace

// Strides that a user chose stay inside the storage.
static void check_inside(const OpInfo& op, const TensorImpl& base, int64_t offset, const Ints& sizes, const Ints& strides) {
  int64_t last = offset;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] < 0 || strides[d] < 0)
      fail(ErrorCode::invalid_argument, {.op = op.schema.name, .fact = "sizes and strides may not be negative",
                                         .got = cat("[", join(sizes, ","), "] with strides [", join(strides, ","), "]"), .expected = "0 or more"});
    if (sizes[d] == 0) return;
    last = checked_add(last, checked_mul(sizes[d] - 1, strides[d]));
  }
  const int64_t room = base.storage->bytes / dtype_bytes(base.dtype);
  if (base.storage->traced || (offset >= 0 && last < room)) return;
  fail(ErrorCode::out_of_range, {.op = op.schema.name, .fact = "this reaches outside of the tensor's memory",
                                 .got = cat("elements ", offset, " to ", last), .expected = cat("0 to ", room - 1)});
}

// as_strided speaks of a tensor's memory, not of its elements: a trace knows the memory only of tensors
// that are dense and no views.
static void check_strided(const Signature& s, const TensorImpl& base) {
  bool strided = false;
  for (const Node& n : s.graph.nodes()) strided = strided || n.op->schema.name == "prim::as_strided";
  if (!strided) return;
  Tracer* tracer = Tracer::current();
  if (tracer && !tracer->is_dense_root(base))
    fail(ErrorCode::trace, {.op = s.name, .fact = "the memory of this tensor is not known in a trace", .got = tensor_text(base),
                            .expected = "a dense tensor that is no view", .remedy = "take the view outside, or index instead"});
}

bool alias_views(Signature& s, const OpInfo& op, const CallKey& key, Tensors& views) {
  const Tensor base = Tensor::share(key.tensors[0]);
  ViewWalker walker(s.graph, key.symbols);
  if (!walker.walk(*base)) {
    if (op.op->record.must_alias)
      fail(ErrorCode::invalid_argument,
           {.op = op.schema.name, .fact = "this shape cannot be had as a view of these strides",
            .got = cat(tensor_text(*base), " with strides [", join(base->strides, ","), "]"), .remedy = "use reshape, which copies"});
    return false;
  }
  check_strided(s, *base);
  for (GraphValue v : s.graph.outputs()) {
    const auto& p = walker.of(v);
    if (op.schema.name.find("as_strided") != std::string::npos) check_inside(op, *base, p.offset, p.sizes, p.strides);
    views.push_back(make_view_as(base, s.graph.type(v).dtype, p.offset, p.sizes, p.strides));
  }
  if (views.empty()) return true;
  if (views[0]->dtype != base->dtype) {  // other bits have no gradient, but a trace follows them
    const NoGrad guard;
    if (Tracer::current()) record_view(s, base, key.numbers, key.symbols, views);
    return true;
  }
  if (Tracer::current() || (has_gradient(base->dtype) && (grad_enabled() || base->requires_grad))) record_view(s, base, key.numbers, key.symbols, views);
  return true;
}

void write_view(const Tensor& dst, const Tensor& src) {
  static const OpInfo* op = find_op("prim::copy_to");
  const Arg args[] = {tensor_arg(dst), tensor_arg(src)};
  const CallKey key = make_key(*op, args);
  const Ref<Signature> s = find_signature(*op, args, key);
  const CallInput inputs[] = {{dst.get(), 0}, {src.get(), 0}};
  execute_signature(*s, inputs, key.symbols, dst->device(), std::span(&dst, 1));
}

}  // namespace phlox
