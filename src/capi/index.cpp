// x[...] and x[...] = v: what Python's brackets mean, as views where only numbers, slices and new dimensions are given,
// and as one gather or scatter where there are tensors.
#include <algorithm>

#include "base/error.h"
#include "capi/op_handle.h"
#include "capi_rt/boundary.h"
#include "ops/registry.h"

namespace phlox {

namespace {

Tensor call_named(const char* name, std::initializer_list<Arg> args) {
  const phlox_op* op = find_op_handle(name);
  if (!op) fail(ErrorCode::not_implemented, {.op = "index", .fact = cat("this build has no op ", name)});
  return call_handle(*op, {args.begin(), args.size()})[0];
}

// What is left to do after the views: an index tensor for some of the dimensions.
struct Indexed {
  Tensor view;
  std::vector<Tensor> tensors;  // by dimension of `view`; null: all of it
  bool any() const {
    for (const Tensor& t : tensors) if (t) return true;
    return false;
  }
};

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t count, int64_t step) {
  return call_named("prim::slice", {tensor_arg(x), Arg::of_dim(dim), Arg::of_dim(start), Arg::of_dim(count), Arg::of_dim(step)});
}
Tensor reshape(const Tensor& x, const Ints& sizes) {
  SmallVector<Arg, 6> shape;
  for (int64_t s : sizes) shape.push_back(Arg::of_dim(s));
  return call_named("prim::reshape", {tensor_arg(x), Arg::of_list(shape)});
}
Tensor unsqueeze(const Tensor& x, int64_t dim) {
  Ints sizes = x->sizes;
  sizes.insert(size_t(dim), 1);
  return reshape(x, sizes);
}
Tensor select(const Tensor& x, int64_t dim, int64_t at) {
  return call_named("select.int", {tensor_arg(x), Arg::of_dim(dim), Arg::of_dim(at)});
}

class Indexer {
 public:
  Indexer(Tensor t, std::span<const phlox_index_item> items) : items_(items) { r_.view = std::move(t); }

  Indexed run() {
    int64_t used = 0;
    int ellipses = 0;
    for (const phlox_index_item& i : items_) {
      ellipses += i.kind == PHLOX_INDEX_ELLIPSIS;
      used += takes(i);
    }
    const int64_t rank = r_.view->rank();
    if (ellipses > 1) fail(ErrorCode::invalid_argument, {.op = "index", .fact = "an index has at most one ellipsis", .got = cat(ellipses)});
    if (used > rank)
      fail(ErrorCode::out_of_range, {.op = "index", .fact = "too many indices", .got = cat(used, " for ", tensor_text(*r_.view)),
                                     .expected = cat("at most ", rank)});
    for (const phlox_index_item& i : items_) step(i, rank - used);
    r_.tensors.resize(size_t(r_.view->rank()));
    return std::move(r_);
  }

 private:
  static int64_t takes(const phlox_index_item& i) {
    switch (i.kind) {
      case PHLOX_INDEX_INT:
      case PHLOX_INDEX_SLICE: return 1;
      case PHLOX_INDEX_TENSOR: return mask(i) ? to_impl(i.tensor)->rank() : 1;
      default: return 0;
    }
  }
  static bool mask(const phlox_index_item& i) { return need(i.tensor, "index").dtype == DType::boolean; }

  void place(int64_t d, Tensor t) {
    if (int64_t(r_.tensors.size()) <= d) r_.tensors.resize(size_t(d) + 1);
    r_.tensors[size_t(d)] = std::move(t);
  }

  // A mask over some dims picks the places of its true elements: an index tensor for each of them.
  void place_mask(const Tensor& m) {
    for (int d = 0; d < m->rank(); ++d)
      if (m->sizes[size_t(d)] != r_.view->sizes[size_t(dim_ + d)])
        fail(ErrorCode::invalid_argument, {.op = "index", .fact = cat("the mask does not fit at dimension ", dim_), .got = tensor_text(*m),
                                           .expected = cat("its part of ", tensor_text(*r_.view))});
    const Tensor at = call_named("nonzero", {tensor_arg(m)});
    for (int d = 0; d < m->rank(); ++d) place(dim_ + d, contiguous(select(at, 1, d)));
    dim_ += m->rank();
  }

  void step(const phlox_index_item& i, int64_t rest) {
    Tensor& x = r_.view;
    switch (i.kind) {
      case PHLOX_INDEX_NONE:
        x = unsqueeze(x, dim_++);
        break;
      case PHLOX_INDEX_ELLIPSIS: dim_ += rest; break;
      case PHLOX_INDEX_INT: {
        const int64_t n = x->sizes[size_t(dim_)];
        if (i.start < -n || i.start >= n)
          fail(ErrorCode::out_of_range, {.op = "index", .fact = cat("the index of dimension ", dim_, " is out of range"),
                                         .got = cat(i.start), .expected = n ? cat(-n, " to ", n - 1) : std::string("nothing: its size is 0")});
        x = select(x, dim_, i.start < 0 ? i.start + n : i.start);
        break;
      }
      case PHLOX_INDEX_SLICE: {
        if (i.step <= 0)
          fail(ErrorCode::invalid_argument, {.op = "index", .fact = "the step of a slice must be positive", .got = cat(i.step),
                                             .remedy = "use flip for a reversed view"});
        const int64_t n = x->sizes[size_t(dim_)];
        auto clip = [n](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + n : v, 0, n); };
        const int64_t start = i.has & PHLOX_SLICE_HAS_START ? clip(i.start) : 0;
        const int64_t stop = i.has & PHLOX_SLICE_HAS_STOP ? clip(i.stop) : n;
        const int64_t count = stop > start ? (stop - start + i.step - 1) / i.step : 0;
        if (start != 0 || count != n || i.step != 1) x = slice(x, dim_, start, count, i.step);
        ++dim_;
        break;
      }
      case PHLOX_INDEX_BOOL: {  // a new dimension of size 1, kept or emptied
        x = unsqueeze(x, dim_);
        Tensor m = make_tensor(x->device(), DType::boolean, {1});
        const uint8_t v = i.start != 0;
        x->device().copy(m->bytes(), &v, 1, Device::CopyKind::to_device, 0);
        x->device().synchronize(0);
        place_mask(m);
        break;
      }
      case PHLOX_INDEX_TENSOR: {
        const Tensor t = need_ref(i.tensor, "index");
        if (!is_int(t->dtype) && !is_bool(t->dtype))
          fail(ErrorCode::invalid_argument, {.op = "index", .fact = "an index tensor holds integers or bools", .got = tensor_text(*t)});
        if (mask(i)) place_mask(t);
        else place(dim_++, t);
        break;
      }
      default: fail(ErrorCode::invalid_argument, {.op = "index", .fact = "there is no such kind of index", .got = cat(i.kind)});
    }
  }

  std::span<const phlox_index_item> items_;
  Indexed r_;
  int64_t dim_ = 0;
};

std::vector<Arg> index_list(const Indexed& i) {
  std::vector<Arg> list;
  for (const Tensor& t : i.tensors) list.push_back(t ? tensor_arg(t) : Arg());
  while (!list.empty() && list.back().is_none()) list.pop_back();
  return list;
}

Indexed apply(phlox_tensor* tensor, const phlox_index_item* items, int32_t n) {
  if (n < 0 || (n > 0 && !items)) null_handle("index", "items");
  return Indexer(need_ref(tensor, "index"), {items, size_t(n)}).run();
}

}  // namespace
}  // namespace phlox

using namespace phlox;

extern "C" {

phlox_status phlox_index(phlox_tensor* tensor, const phlox_index_item* items, int32_t n, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "index");
    Indexed r = apply(tensor, items, n);
    if (r.any()) {
      const std::vector<Arg> list = index_list(r);
      r.view = call_named("index.Tensor", {tensor_arg(r.view), Arg::of_list(list)});
    }
    *out = to_handle(std::move(r.view));
  });
}

phlox_status phlox_index_put(phlox_tensor* tensor, const phlox_index_item* items, int32_t n, phlox_tensor* values,
                             int32_t accumulate) {
  return guarded([&] {
    const Indexed r = apply(tensor, items, n);
    const Tensor v = need_ref(values, "index_put_");
    if (r.any()) {
      const std::vector<Arg> list = index_list(r);
      call_named("index_put_", {tensor_arg(r.view), Arg::of_list(list), tensor_arg(v), Arg::of_bool(accumulate != 0)});
    } else if (accumulate) {
      const Arg args[] = {tensor_arg(r.view), tensor_arg(v)};
      call_in_place(*find_op("add.Tensor"), args);
    } else {
      assign(r.view, v, "index_put_");
    }
  });
}

}  // extern "C"
