// Views and reshapes: ops that only move indices, and their copying forms.
#include <algorithm>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- helpers

static Dim wrapped(Dim index, Dim size) { return dim_lt(index, 0) ? index + size : index; }

// A list of sizes in which one -1 stands for what is left of `numel`.
static Dims inferred(const Args& a, Dims shape, Dim numel) {
  int hole = -1;
  Dim known = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i].is(-1)) { known = known * shape[i]; continue; }
    if (hole >= 0) a.error("more than one size is -1", shape_text(shape), "at most one");
    hole = int(i);
  }
  if (hole >= 0) {
    if (known.is(0)) a.error("the size that is -1 cannot be inferred next to a size of 0", shape_text(shape), "explicit sizes");
    if (!dim_eq(mod(numel, known), 0))
      a.error("the number of elements does not fit", cat(numel, " elements into ", shape_text(shape)), "sizes whose product is that number");
    shape[size_t(hole)] = floordiv(numel, known);
  } else if (known != numel && !dim_eq(known, numel)) {
    a.error("the number of elements does not fit", cat(numel, " elements into ", shape_text(shape)), "sizes whose product is that number");
  }
  for (Dim d : shape) if (d.is_const() && d.value() < 0) a.error("a size is negative", shape_text(shape), "sizes of at least 0");
  return shape;
}
static Val as_shape(const Args& a, Val x, const Dims& shape) { return reshape(x, inferred(a, shape, x.numel())); }


static Val moved(const Args& a, Val x, const Ints& source, const Ints& destination) {
  if (source.size() != destination.size())
    a.error("source and destination differ in length", cat(source.size(), " and ", destination.size()), "equal lengths");
  Ints perm(size_t(x.rank()), -1), from, to;
  std::vector<bool> taken(size_t(x.rank()));
  for (size_t i = 0; i < source.size(); ++i) {
    const int s = wrap_dim(source[i], x.rank(), a.name()), d = wrap_dim(destination[i], x.rank(), a.name());
    if (x.rank() == 0) return x;
    if (perm[size_t(d)] >= 0 || taken[size_t(s)]) a.error("a dimension is listed twice", cat(join(source), " to ", join(destination)), "distinct dimensions");
    perm[size_t(d)] = s;
    taken[size_t(s)] = true;
  }
  int64_t next = 0;
  for (int64_t& p : perm) {
    if (p >= 0) continue;
    while (taken[size_t(next)]) ++next;
    p = next++;
  }
  return permute(x, perm);
}

static Val part(Val x, int dim, Dim start, Dim count) { return slice(x, dim, start, count); }

// Sizes of the pieces, in order, along a dim.
static Vals cut(Val x, int dim, const Dims& sizes) {
  Vals r;
  Dim start = 0;
  for (Dim n : sizes) {
    r.push_back(part(x, dim, start, n));
    start = start + n;
  }
  return r;
}
static Val at_least(Val x, int rank) {
  if (x.rank() >= rank) return x;
  if (rank == 1) return reshape(x, {1});
  if (rank == 2) return x.rank() == 0 ? reshape(x, {1, 1}) : unsqueeze(x, 0);
  return x.rank() == 0 ? reshape(x, {1, 1, 1}) : x.rank() == 1 ? reshape(x, {1, x.size(0), 1}) : unsqueeze(x, 2);
}

// --- rules

static Vals self_rule(const Args& a) { return {a[0]}; }
static Vals detach_rule(const Args& a) { return {stop_gradient(a[0])}; }
static Vals view_rule(const Args& a) { return {as_shape(a, a[0], a.dims(1))}; }
static Vals view_as_rule(const Args& a) { return {as_shape(a, a[0], a[1].shape())}; }
static Vals view_dtype_rule(const Args& a) {
  const DType from = a[0].dtype(), to = *a.dtype(1);
  if (from == to) return {a[0]};
  if (dtype_bytes(from) != dtype_bytes(to))
    fail(ErrorCode::not_implemented, {.op = "view", .fact = "viewing as a dtype of another size is not supported yet", .got = cat(from, " as ", to)});
  return {bitcast(a[0], to)};
}

static Vals expand_rule(const Args& a) {
  const Val x = a[0];
  Dims shape = a.dims(1);
  if (int(shape.size()) < x.rank())
    a.error("fewer sizes than dimensions", shape_text(shape), cat("at least ", x.rank()));
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i].is(-1)) continue;
    const int k = int(i) - int(shape.size()) + x.rank();
    if (k < 0) a.error("-1 stands for a dimension that is not there", shape_text(shape), "the new size");
    shape[i] = x.size(k);
  }
  return {broadcast_to(x, shape, a.name())};
}
static Vals expand_as_rule(const Args& a) { return {broadcast_to(a[0], a[1].shape(), a.name())}; }
static Vals permute_rule(const Args& a) {
  const Val x = a[0];
  Ints dims = a.ints(1);
  if (int(dims.size()) != x.rank()) a.error("the number of dimensions does not fit", cat("[", join(dims), "]"), cat(x.rank(), " dimensions"));
  std::vector<bool> seen(dims.size());
  for (int64_t& d : dims) {
    d = wrap_dim(d, x.rank(), a.name());
    if (seen[size_t(d)]) a.error("a dimension is listed twice", cat("[", join(a.ints(1)), "]"), "distinct dimensions");
    seen[size_t(d)] = true;
  }
  return {permute(x, dims)};
}
static Vals transpose_rule(const Args& a) {
  const Val x = a[0];
  const int d0 = a.dim(1, x.rank()), d1 = a.dim(2, x.rank());
  return {x.rank() == 0 ? x : transpose(x, d0, d1)};
}
static Vals t_rule(const Args& a) {
  if (a[0].rank() > 2) a.error("too many dimensions", cat(a[0].type()), "at most 2", "use transpose or mT");
  return {a[0].rank() == 2 ? transpose(a[0], 0, 1) : a[0]};
}
static Vals reverse_dims_rule(const Args& a) {
  Ints perm;
  for (int d = a[0].rank(); d-- > 0;) perm.push_back(d);
  return {permute(a[0], perm)};
}
static Vals matrix_transpose_rule(const Args& a) {
  if (a[0].rank() < 2) a.error("too few dimensions", cat(a[0].type()), "at least 2");
  return {transpose(a[0], a[0].rank() - 2, a[0].rank() - 1)};
}
static Vals adjoint_rule(const Args& a) { return {conj(matrix_transpose_rule(a)[0])}; }
static Vals matrix_only_transpose_rule(const Args& a) {
  if (a[0].rank() != 2) a.error("not a matrix", cat(a[0].type()), "2 dimensions", "use mH");
  return adjoint_rule(a);
}

static Val without_ones(Val x, const Ints& dims) {
  Dims shape;
  for (int d = 0; d < x.rank(); ++d) {
    bool listed = false;
    for (int64_t k : dims) listed |= k == d;
    if (!listed || !(x.size(d).is(1) || (!x.size(d).is_const() && dim_eq(x.size(d), 1)))) shape.push_back(x.size(d));
  }
  return reshape(x, shape);
}
static Vals squeeze_rule(const Args& a) { return {without_ones(a[0], all_dims(a[0].rank()))}; }
static Vals squeeze_dim_rule(const Args& a) { return {without_ones(a[0], {a.dim(1, a[0].rank())})}; }
static Vals squeeze_dims_rule(const Args& a) { return {without_ones(a[0], reduce_dims(a, 1, a[0].rank(), false))}; }
static Vals unsqueeze_rule(const Args& a) { return {unsqueeze(a[0], wrap_dim(a.i(1), a[0].rank() + 1, a.name()))}; }

static Vals select_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() == 0) a.error("a 0-d tensor has no dimension to select from", cat(x.type()), "at least 1 dimension");
  const int d = a.dim(1, x.rank());
  const Dim n = x.size(d), i = a.d(2);
  if (dim_lt(i, Dim(0) - n) || !dim_lt(i, n))
    fail(ErrorCode::out_of_range, {.op = a.name(), .fact = "index out of range", .got = cat(i, " for a size of ", n)});
  return {select_index(x, d, wrapped(i, n))};
}
static Vals slice_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() == 0) a.error("a 0-d tensor cannot be sliced", cat(x.type()), "at least 1 dimension");
  const int d = a.dim(1, x.rank());
  const int64_t step = a.i(4);
  if (step <= 0) a.error("the step must be positive", cat(step), "at least 1", "use flip to reverse");
  const Dim n = x.size(d);
  auto bound = [&](int i, Dim absent) {
    if (!a.has(i)) return absent;
    const Dim v = wrapped(a.d(i), n);
    return dim_lt(v, 0) ? Dim(0) : dim_lt(n, v) ? n : v;
  };
  const Dim start = bound(2, 0), end = bound(3, n);
  const Dim count = dim_lt(start, end) ? floordiv(end - start + (step - 1), step) : Dim(0);
  return {slice(x, d, count.is(0) ? Dim(0) : start, count, step)};
}
static Vals narrow_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() == 0) a.error("a 0-d tensor cannot be narrowed", cat(x.type()), "at least 1 dimension");
  const int d = a.dim(1, x.rank());
  const Dim n = x.size(d), start = wrapped(a.d(2), n), length = a.d(3);
  if (dim_lt(length, 0) || dim_lt(start, 0) || dim_lt(n, start + length))
    fail(ErrorCode::out_of_range, {.op = a.name(), .fact = "the range is outside the dimension", .got = cat(start, " + ", length, " of ", n)});
  return {part(x, d, start, length)};
}
// The start is a tensor: elements are gathered, without reading it on the host.
static Vals narrow_tensor_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(1, x.rank());
  const Val start = cast(reshape(a[2], {}), DType::i64);
  const Val at = iota(a.builder(), {a.d(3)}, 0, DType::i64) + select(start < like(start, 0), dim_value(a.builder(), x.size(d), DType::i64) + start, start);
  Val r = gather(x, {at}, {d});
  Ints perm;
  for (int k = 1; k <= d; ++k) perm.push_back(k);
  perm.push_back(0);
  for (int k = d + 1; k < x.rank(); ++k) perm.push_back(k);
  return {permute(r, perm)};
}
static Val diagonal_of(const Args& a, Val x, int offset, int dim1, int dim2) {
  const int d1 = a.dim(dim1, x.rank()), d2 = a.dim(dim2, x.rank());
  if (x.rank() < 2 || d1 == d2) a.error("a diagonal needs two different dimensions", cat(d1, " and ", d2, " of ", x.type()));
  return diagonal(x, d1, d2, a.i(offset));
}
static Vals diagonal_rule(const Args& a) { return {diagonal_of(a, a[0], 1, 2, 3)}; }
static Vals unfold_rule(const Args& a) {
  const Val x = a[0];
  const int64_t size = a.i(2), step = a.i(3);
  if (step <= 0) a.error("the step must be positive", cat(step), "at least 1");
  if (x.rank() == 0) {
    if (size > 1) a.error("the window is longer than the dimension", cat(size, " of 1"));
    return {reshape(x, {size})};
  }
  const int d = a.dim(1, x.rank());
  if (size < 0 || dim_lt(x.size(d), size)) a.error("the window is longer than the dimension", cat(size, " of ", x.size(d)));
  return {unfold(x, d, size, step)};
}

static Vals split_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(2, x.rank());
  const int64_t n = dim_int(x.size(d), a.name()), size = a.i(1);
  if (size < 0 || (size == 0 && n != 0)) a.error("the size of a piece must be positive", cat(size), "at least 1");
  Dims sizes;
  for (int64_t at = 0; at < n; at += size) sizes.push_back(std::min(size, n - at));
  if (n == 0) sizes.push_back(0);
  return cut(x, d, sizes);
}
static Vals split_sizes_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(2, x.rank());
  Dim total = 0;
  for (Dim n : a.dims(1)) total = total + n;
  if (!dim_eq(total, x.size(d))) a.error("the sizes do not add up", shape_text(a.dims(1)), cat("a sum of ", x.size(d)));
  return cut(x, d, a.dims(1));
}
static void check_cut(const Args& a, Val x) {
  if (x.rank() == 0) a.error("a 0-d tensor has no dimension to cut", "a tensor of rank 0", "at least one dimension");
}
static Vals chunk_rule(const Args& a) {
  const Val x = a[0];
  check_cut(a, x);
  const int d = a.dim(2, x.rank());
  const int64_t n = dim_int(x.size(d), a.name()), chunks = a.i(1);
  if (chunks <= 0) a.error("the number of chunks must be positive", cat(chunks), "at least 1");
  const int64_t size = n / chunks + (n % chunks != 0);
  if (size == 0 && chunks > 1'000'000) a.error("an empty dimension is cut into too many pieces", cat(chunks), "at most 1000000");
  Dims sizes;
  if (size == 0) sizes.assign(size_t(chunks), 0);
  else for (int64_t at = 0; at < n; at += size) sizes.push_back(std::min(size, n - at));
  return cut(x, d, sizes);
}
static Vals tensor_split_sections(const Args& a, Val x, int d, int64_t sections) {
  check_cut(a, x);
  const int64_t n = dim_int(x.size(d), a.name());
  if (sections <= 0) a.error("the number of sections must be positive", cat(sections), "at least 1");
  if (sections > 65536) a.error("too many sections", cat(sections), "at most 65536");
  Dims sizes;
  for (int64_t k = 0; k < sections; ++k) sizes.push_back(n / sections + (k < n % sections));
  return cut(x, d, sizes);
}
static Vals tensor_split_indices(const Args& a, Val x, int d, const Ints& indices) {
  const int64_t n = dim_int(x.size(d), a.name());
  Vals r;
  int64_t start = 0;
  for (size_t k = 0; k <= indices.size(); ++k) {
    int64_t end = k < indices.size() ? indices[k] : n;
    if (end < 0) end += n;
    const int64_t lo = std::clamp<int64_t>(start, 0, n), hi = std::clamp<int64_t>(end, lo, n);
    r.push_back(part(x, d, lo, hi - lo));
    start = end;
  }
  return r;
}
static Vals tensor_split_sections_rule(const Args& a) {
  return tensor_split_sections(a, a[0], a.dim(2, a[0].rank()), a.i(1));
}
static Vals tensor_split_indices_rule(const Args& a) {
  return tensor_split_indices(a, a[0], a.dim(2, a[0].rank()), a.ints(1));
}
template <int which>  // 0: hsplit, 1: vsplit, 2: dsplit
static Vals axis_split_rule(const Args& a) {
  const Val x = a[0];
  const int d = which == 0 ? (x.rank() == 1 ? 0 : 1) : which == 1 ? 0 : 2;
  if (x.rank() <= d) a.error("too few dimensions", cat(x.type()), cat("at least ", d + 1));
  if (a.op().schema.params[1].list) return tensor_split_indices(a, x, d, a.ints(1));
  const int64_t sections = a.i(1);
  if (sections <= 0 || !dim_eq(mod(x.size(d), sections), 0)) a.error("the sections are not of equal size", cat(sections, " of ", x.size(d)), "a divisor");
  return tensor_split_sections(a, x, d, sections);
}
static Vals unbind_rule(const Args& a) {
  const Val x = a[0];
  if (x.rank() == 0) a.error("a 0-d tensor has no dimension to take apart", cat(x.type()), "at least 1 dimension");
  const int d = a.dim(1, x.rank());
  Vals r;
  for (int64_t i = 0; i < dim_int(x.size(d), a.name()); ++i) r.push_back(select_index(x, d, i));
  return r;
}
static Vals movedim_rule(const Args& a) { return {moved(a, a[0], a.ints(1), a.ints(2))}; }
static Vals flatten_rule(const Args& a) {
  const Val x = a[0];
  const int first = a.dim(1, x.rank()), last = a.dim(2, x.rank());
  if (x.rank() == 0) return {reshape(x, {1})};
  if (first > last) a.error("start_dim comes after end_dim", cat(first, " and ", last));
  Dims shape;
  for (int d = 0; d < x.rank(); ++d)
    if (d > first && d <= last) shape.back() = shape.back() * x.size(d);
    else shape.push_back(x.size(d));
  return {reshape(x, shape)};
}
static Vals unflatten_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(1, x.rank());
  if (a.dims(2).empty()) a.error("no sizes are given", "[]", "at least one");
  const Dims inner = inferred(a, a.dims(2), x.size(d));
  Dims shape;
  for (int k = 0; k < x.rank(); ++k)
    if (k == d) shape.append(inner.begin(), inner.end());
    else shape.push_back(x.size(k));
  return {reshape(x, shape)};
}
static Vals ravel_rule(const Args& a) { return {reshape(a[0], {a[0].numel()})}; }
template <int rank>
static Vals at_least_rule(const Args& a) {
  Vals r;
  for (Val v : a.vals(0)) r.push_back(at_least(v, rank));
  return r;
}

// Element i, j, ... is element offset + i * stride[0] + j * stride[1] + ... of the storage, for which a row-major self stands.
static Val strided(const Args& a, Val x, const Dims& size, const Dims& stride, int offset) {
  if (size.size() != stride.size()) a.error("size and stride differ in length", cat(size.size(), " and ", stride.size()), "equal lengths");
  // A view is held against its storage, which is known where it is made; what copies reads self alone.
  if (!a.op().op->record.view) {
    Dim last = a.has(offset) ? a.d(offset) : Dim(0);
    bool none = false;
    for (size_t k = 0; k < size.size(); ++k) {
      if (dim_lt(stride[k], 0)) a.error("strides may not be negative", cat(stride[k]), "0 or more");
      none = none || dim_eq(size[k], 0);
      last = last + (size[k] - 1) * stride[k];
    }
    if (!none && (dim_lt(last, 0) || !dim_lt(last, x.numel())))
      a.error("this reaches outside of the tensor", cat("element ", last, " of ", x.type()), cat("at most element ", x.numel() - 1));
  }
  return as_strided(x, size, stride, a.has(offset) ? std::optional<Dim>(a.d(offset)) : std::nullopt);
}
static Vals as_strided_rule(const Args& a) { return {strided(a, a[0], a.dims(1), a.dims(2), 3)}; }
static Vals contiguous_rule(const Args& a) { return {a[0].type().strides.empty() ? a[0] : copy(a[0])}; }

template <ExpandRule rule>
static Vals copied(const Args& a) {
  Vals r = rule(a);
  for (Val& v : r) v = copy(v);
  return r;
}

// --- records. VIEW: aliases self where strides can say it. BOTH: the view and its copying form, which has the name NAME_copy.

#define VIEW(id, name, args, result, text, rule) \
  static constexpr Op op_##id{{.schema = name "(Tensor(a) self" args ") -> " result, .doc = text, .expand = rule, .view = true, .sample = samples}};
#define COPY(id, name, args, result, rule) \
  static constexpr Op op_##id##_copy{{.schema = name "(Tensor self" args ") -> " result, .doc = "The same elements in new memory.", .expand = copied<rule>, .sample = samples}};

#define EACH_VIEW(X)                                                                                                     \
  X(reshape, "reshape", ", SymInt[] shape", "Tensor(a)", "The same elements in another shape; one size may be -1.", view_rule) \
  X(unsafe_view, "_unsafe_view", ", SymInt[] size", "Tensor(a)", "view.", view_rule)                                     \
  X(view_as, "view_as", ", Tensor other", "Tensor(a)", "self in the shape of other.", view_as_rule)                      \
  X(reshape_as, "reshape_as", ", Tensor other", "Tensor(a)", "self in the shape of other.", view_as_rule)                \
  X(expand_as, "expand_as", ", Tensor other", "Tensor(a)", "self broadcast to the shape of other.", expand_as_rule)      \
  X(broadcast_to, "broadcast_to", ", SymInt[] size", "Tensor(a)", "self broadcast to a shape.", expand_rule)             \
  X(swapaxes, "swapaxes", ", int axis0, int axis1", "Tensor(a)", "transpose.", transpose_rule)                           \
  X(swapdims, "swapdims", ", int dim0, int dim1", "Tensor(a)", "transpose.", transpose_rule)                             \
  X(numpy_T, "numpy_T", "", "Tensor(a)", "All dimensions reversed.", reverse_dims_rule)                                  \
  X(mT, "mT", "", "Tensor(a)", "The last two dimensions swapped.", matrix_transpose_rule)                                \
  X(mH, "mH", "", "Tensor(a)", "The conjugate of mT.", adjoint_rule)                                                     \
  X(adjoint, "adjoint", "", "Tensor(a)", "mH.", adjoint_rule)                                                   \
  X(matrix_H, "matrix_H", "", "Tensor(a)", "The conjugate transpose of a matrix.", matrix_only_transpose_rule)           \
  X(linalg_diagonal, "linalg_diagonal", ", *, int offset=0, int dim1=-2, int dim2=-1", "Tensor(a)", "diagonal of the last dimensions.", diagonal_rule) \
  X(narrow, "narrow", ", int dim, SymInt start, SymInt length", "Tensor(a)", "A range of a dimension.", narrow_rule)     \
  X(chunk, "chunk", ", int chunks, int dim=0", "Tensor(a)[]", "At most `chunks` pieces of equal size but the last.", chunk_rule) \
  X(tensor_split_sections, "tensor_split.sections", ", SymInt sections, int dim=0", "Tensor(a)[]", "Pieces whose sizes differ by at most 1.", tensor_split_sections_rule) \
  X(tensor_split_indices, "tensor_split.indices", ", SymInt[] indices, int dim=0", "Tensor(a)[]", "Pieces that end at these indices.", tensor_split_indices_rule) \
  X(hsplit_int, "hsplit.int", ", int sections", "Tensor(a)[]", "tensor_split along columns.", axis_split_rule<0>)        \
  X(hsplit_array, "hsplit.array", ", int[] indices", "Tensor(a)[]", "tensor_split along columns.", axis_split_rule<0>)   \
  X(vsplit_int, "vsplit.int", ", int sections", "Tensor(a)[]", "tensor_split along rows.", axis_split_rule<1>)           \
  X(vsplit_array, "vsplit.array", ", int[] indices", "Tensor(a)[]", "tensor_split along rows.", axis_split_rule<1>)      \
  X(dsplit_int, "dsplit.int", ", int sections", "Tensor(a)[]", "tensor_split along the third dimension.", axis_split_rule<2>) \
  X(dsplit_array, "dsplit.array", ", int[] indices", "Tensor(a)[]", "tensor_split along the third dimension.", axis_split_rule<2>) \
  X(movedim, "movedim.intlist", ", int[] source, int[] destination", "Tensor(a)", "Dimensions moved to new places.", movedim_rule) \
  X(movedim_int, "movedim.int", ", int source, int destination", "Tensor(a)", "A dimension moved to a new place.", movedim_rule) \
  X(moveaxis, "moveaxis.intlist", ", int[] source, int[] destination", "Tensor(a)", "movedim.", movedim_rule)            \
  X(moveaxis_int, "moveaxis.int", ", int source, int destination", "Tensor(a)", "movedim.", movedim_rule)                \
  X(flatten, "flatten.using_ints", ", int start_dim=0, int end_dim=-1", "Tensor(a)", "Dimensions joined into one.", flatten_rule) \
  X(unflatten, "unflatten.int", ", int dim, SymInt[] sizes", "Tensor(a)", "A dimension cut into several.", unflatten_rule) \
  X(ravel, "ravel", "", "Tensor(a)", "One dimension of all elements.", ravel_rule)                                       \
  X(atleast_1d, "atleast_1d", "", "Tensor", "A 0-d tensor gets a dimension.", at_least_rule<1>)                          \
  X(atleast_2d, "atleast_2d", "", "Tensor", "Dimensions of size 1 in front, up to 2.", at_least_rule<2>)                 \
  X(atleast_3d, "atleast_3d", "", "Tensor", "Dimensions of size 1, up to 3.", at_least_rule<3>)                          \
  X(contiguous, "contiguous", ", *, MemoryFormat memory_format=contiguous_format", "Tensor(a)", "self, in row-major memory.", contiguous_rule)
EACH_VIEW(VIEW)

// id, name, overload, args, result, text, rule
#define EACH_VIEW_AND_COPY(X)                                                                                             \
  X(alias, "alias", "", "", "Tensor(a)", "self.", self_rule)                                                              \
  X(detach, "detach", "", "", "Tensor(a)", "self without its history.", detach_rule)                                      \
  X(permute, "permute", "", ", int[] dims", "Tensor(a)", "Dimensions in another order.", permute_rule)                    \
  X(transpose, "transpose", ".int", ", int dim0, int dim1", "Tensor(a)", "Two dimensions swapped.", transpose_rule)       \
  X(t, "t", "", "", "Tensor(a)", "The transpose of a matrix.", t_rule)                                                    \
  X(squeeze, "squeeze", "", "", "Tensor(a)", "Without dimensions of size 1.", squeeze_rule)                               \
  X(squeeze_dim, "squeeze", ".dim", ", int dim", "Tensor(a)", "Without this dimension, if its size is 1.", squeeze_dim_rule) \
  X(squeeze_dims, "squeeze", ".dims", ", int[] dim", "Tensor(a)", "Without those of these dimensions whose size is 1.", squeeze_dims_rule) \
  X(unsqueeze, "unsqueeze", "", ", int dim", "Tensor(a)", "A new dimension of size 1.", unsqueeze_rule)                   \
  X(select_int, "select", ".int", ", int dim, SymInt index", "Tensor(a)", "One index of a dimension.", select_rule)       \
  X(slice, "slice", ".Tensor", ", int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1", "Tensor(a)", "A range of a dimension, with a step.", slice_rule) \
  X(diagonal, "diagonal", "", ", int offset=0, int dim1=0, int dim2=1", "Tensor(a)", "A diagonal, as a new last dimension.", diagonal_rule) \
  X(split, "split", ".Tensor", ", SymInt split_size, int dim=0", "Tensor(a)[]", "Pieces of this size, but the last.", split_rule) \
  X(split_with_sizes, "split_with_sizes", "", ", SymInt[] split_sizes, int dim=0", "Tensor(a)[]", "Pieces of these sizes.", split_sizes_rule) \
  X(unbind, "unbind", ".int", ", int dim=0", "Tensor(a)[]", "Every index of a dimension.", unbind_rule)
#define VIEW_AND_COPY(id, name, overload, args, result, text, rule) \
  VIEW(id, name overload, args, result, text, rule)                 \
  COPY(id, name "_copy" overload, args, result, rule)
EACH_VIEW_AND_COPY(VIEW_AND_COPY)

#define EACH_STRICT(X)                                                                                                 \
  X(view, "view", "", ", SymInt[] size", "The same elements in another shape, without a copy.", view_rule)             \
  X(view_dtype, "view", ".dtype", ", ScalarType dtype", "The same bytes as another dtype.", view_dtype_rule)           \
  X(expand, "expand", "", ", SymInt[] size, *, bool implicit=False", "self broadcast to a shape; -1 keeps a size.", expand_rule) \
  X(unfold, "unfold", "", ", int dimension, int size, int step", "Windows along a dimension, as a new last dimension.", unfold_rule) \
  X(as_strided, "as_strided", "", ", SymInt[] size, SymInt[] stride, SymInt? storage_offset=None", "Elements at positions given by strides.", as_strided_rule)
#define STRICT(id, name, overload, args, text, rule)                                                                      \
  static constexpr Op op_##id{{.schema = name overload "(Tensor(a) self" args ") -> Tensor(a)", .doc = text, .expand = rule, \
                               .view = true, .must_alias = true, .sample = samples}};                                                        \
  COPY(id, name "_copy" overload, args, "Tensor", rule)
EACH_STRICT(STRICT)

COPY(narrow, "narrow_copy", ", int dim, SymInt start, SymInt length", "Tensor", narrow_rule)
COPY(unsafe_chunk, "unsafe_chunk", ", int chunks, int dim=0", "Tensor[]", chunk_rule)
COPY(unsafe_split, "unsafe_split.Tensor", ", SymInt split_size, int dim=0", "Tensor[]", split_rule)
COPY(unsafe_split_with_sizes, "unsafe_split_with_sizes", ", SymInt[] split_sizes, int dim=0", "Tensor[]", split_sizes_rule)
static constexpr Op op_split_sizes{{
    .schema = "split.sizes(Tensor(a) self, SymInt[] split_size, int dim=0) -> Tensor(a)[]",
    .doc = "split_with_sizes.",
    .expand = split_sizes_rule,
    .view = true,
    .sample = samples,
}};
static constexpr Op op_narrow_tensor{{
    .schema = "narrow.Tensor(Tensor self, int dim, Tensor start, SymInt length) -> Tensor",
    .doc = "A range of a dimension whose start is a tensor.",
    .expand = narrow_tensor_rule,
    .sample = samples,
}};
#define SEQUENCE(rank)                                                                                            \
  static constexpr Op op_atleast_##rank##d_list{{.schema = "atleast_" #rank "d.Sequence(Tensor[] tensors) -> Tensor[]", \
                                                 .doc = "atleast_" #rank "d of each.", .expand = at_least_rule<rank>, .sample = samples}};
SEQUENCE(1) SEQUENCE(2) SEQUENCE(3)

// --- views of several tensors

static Dims common_shape(const Args& a, const std::vector<Val>& v) {
  Dims shape;
  for (Val x : v) shape = broadcast_shapes(a.name(), shape, x.shape());
  return shape;
}
static constexpr Op op_broadcast_tensors{{
    .schema = "broadcast_tensors(Tensor[] tensors) -> Tensor[]",
    .doc = "All of them in their common shape.",
    .expand = [](const Args& a) -> Vals {
      const Dims shape = common_shape(a, a.vals(0));
      Vals r;
      for (Val x : a.vals(0)) r.push_back(broadcast_to(x, shape));
      return r;
    },
    .sample = samples,
}};
static Vals meshgrid_rule(const Args& a) {
  std::vector<Val> v = a.vals(0);
  if (v.empty()) a.error("there is nothing to make a grid of", "no tensors", "at least one");
  const bool xy = a.size() > 1 && a.s(1) == "xy" && v.size() > 1;
  if (a.size() > 1 && a.s(1) != "xy" && a.s(1) != "ij") a.error("unknown indexing", std::string(a.s(1)), "'ij' or 'xy'");
  if (xy) std::swap(v[0], v[1]);
  Dims shape;
  for (Val x : v) {
    if (x.rank() > 1) a.error("not a vector", cat(x.type()), "tensors of at most 1 dimension");
    shape.push_back(x.numel());
  }
  Vals r;
  for (size_t i = 0; i < v.size(); ++i) r.push_back(broadcast_in(reshape(v[i], {v[i].numel()}), shape, {int64_t(i)}));
  if (xy) std::swap(r[0], r[1]);
  return r;
}
static constexpr Op op_meshgrid{{
    .schema = "meshgrid(Tensor[] tensors) -> Tensor[]", .doc = "The coordinates of a grid.", .expand = meshgrid_rule, .sample = samples}};
static constexpr Op op_meshgrid_indexing{{
    .schema = "meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]",
    .doc = "The coordinates of a grid; 'xy' swaps the first two dimensions.",
    .expand = meshgrid_rule,
    .sample = samples,
}};

// --- self with the elements of one of its views replaced

// `where` is the view of self's linear positions.
static Val replaced(const Args& a, Val x, Val src, Val where) {
  bool fits = src.rank() == where.rank();
  for (int d = 0; fits && d < src.rank(); ++d) fits = dim_eq(src.size(d), where.size(d));
  if (!fits)
    a.error("src does not have the shape of the part", shape_text(src.shape()), shape_text(where.shape()));
  const Dim n = where.numel();
  const Val flat = scatter(reshape(x, {x.numel()}), {reshape(where, {n})}, {0}, reshape(cast(src, x.dtype()), {n}), ScatterMode::set);
  return reshape(flat, x.shape());
}
static Val positions(Val x) { return reshape(iota(*x.g, {x.numel()}, 0, DType::i64), x.shape()); }

static Vals select_scatter_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(2, x.rank());
  return {replaced(a, x, a[1], select_index(positions(x), d, wrapped(a.d(3), x.size(d))))};
}
static Vals slice_scatter_rule(const Args& a) {
  const Arg rest[] = {Arg::of_value(positions(a[0]).id), a.raw(2), a.raw(3), a.raw(4), a.raw(5)};
  return {replaced(a, a[0], a[1], slice_rule(Args(a.builder(), op_info(op_slice), rest))[0])};
}
static Vals diagonal_scatter_rule(const Args& a) { return {replaced(a, a[0], a[1], diagonal_of(a, positions(a[0]), 2, 3, 4))}; }
static Vals as_strided_scatter_rule(const Args& a) {
  return {replaced(a, a[0], a[1], strided(a, positions(a[0]), a.dims(2), a.dims(3), 4))};
}
#define EACH_SCATTER(X)                                                                                             \
  X(select_scatter, "select_scatter(Tensor self, Tensor src, int dim, SymInt index)", select_scatter_rule)          \
  X(slice_scatter, "slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1)", slice_scatter_rule) \
  X(diagonal_scatter, "diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1)", diagonal_scatter_rule) \
  X(as_strided_scatter, "as_strided_scatter(Tensor self, Tensor src, SymInt[] size, SymInt[] stride, SymInt? storage_offset=None)", as_strided_scatter_rule)
#define SCATTER(id, text, rule) \
  static constexpr Op op_##id{{.schema = text " -> Tensor", .doc = "self with the part that the view names replaced by src.", .expand = rule, .sample = samples}};
EACH_SCATTER(SCATTER)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("reshape _unsafe_view view view_copy", {"[2,3], [3,2]", "[2,3,4], [2,-1]", "[], [1,1]", "[6], [2,3]"}).of("view.dtype view_copy.dtype", {"f32[2,4], int32", "i16[3], float16"})
      .refuses("reshape _unsafe_view view view_copy", {"[2,3], [4]", "[2,3], [-1,-1]", "[2,3], [-2,3]"}).refuses("view.dtype view_copy.dtype", {"f32[3], float64"})
      .of("view_as reshape_as", {"[2,3], [3,2]", "[4], [2,2]"}).refuses("view_as reshape_as", {"[2,3], [4]"})
      .of("expand_as", {"[3], [2,3]", "[2,1], [2,4]"}).of("broadcast_to expand expand_copy", {"[3], [2,3]", "[2,1], [2,4]", "[], [3]"})
      .refuses("broadcast_to expand expand_copy", {"[3], [2,4]", "[2,3], [3]"}).refuses("expand_as", {"[3], [2,4]"})
      .of("narrow narrow_copy", {"[4,3], 0, 1, 2", "[4,3], 1, -2, 2"}).refuses("narrow narrow_copy", {"[4,3], 0, 3, 2", "[4,3], 2, 0, 1", "[4,3], 0, 0, -1"})
      .of("narrow.Tensor", {"[4,3], 0, i64[]=1, 2"})
      .of("unflatten.int", {"[2,6], 1, [2,3]", "[6], 0, [-1,2]"}).refuses("unflatten.int", {"[2,6], 1, [4,2]", "[6], 1, [6]"})
      .of("split_with_sizes split_with_sizes_copy unsafe_split_with_sizes split.sizes", {"[5,2], [2,3]", "[2,4], [1,1,2], 1"})
      .refuses("split_with_sizes split_with_sizes_copy unsafe_split_with_sizes split.sizes", {"[5,2], [2,2]", "[5,2], [6,-1]"})
      .of("split.Tensor split_copy.Tensor unsafe_split.Tensor", {"[5,2], 2", "[2,4], 3, 1"}).refuses("split.Tensor split_copy.Tensor unsafe_split.Tensor", {"[5,2], -1", "[5,2], 0"})
      .of("chunk unsafe_chunk", {"[5,2], 2", "[2,4], 3, 1"}).refuses("chunk unsafe_chunk", {"[5,2], 0", "[5,2], -1"})
      .of("tensor_split.sections", {"[5,2], 2", "[2,4], 3, 1"}).of("tensor_split.indices", {"[5,2], [1,3]", "[2,4], [2], 1"}).refuses("tensor_split.sections", {"[5,2], 0"})
      .of("hsplit.int", {"[2,4], 2", "[4], 2"}).of("hsplit.array", {"[2,4], [1,3]"}).of("vsplit.int", {"[4,2], 2"}).of("vsplit.array", {"[4,2], [1]"})
      .of("dsplit.int", {"[2,3,4], 2"}).of("dsplit.array", {"[2,3,4], [1,2]"}).refuses("hsplit.int vsplit.int dsplit.int", {"[2,3,5], 4", "[], 1"})
      .of("as_strided as_strided_copy", {"[3,4], [2,2], [4,1]", "[12], [3,3], [2,1], 1", "[6], [], [], 2"}).refuses("as_strided as_strided_copy", {"[4], [3,3], [2,1]", "[4], [2,2], [1]", "[4], [-1], [1]"})
      .of("as_strided_scatter", {"[3,4], [2,2], [2,2], [4,1]", "[12], [3], [3], [2], 1"}).refuses("as_strided_scatter", {"[3,4], [3], [2,2], [4,1]"})
      .of("diagonal_scatter", {"[3,4], [3]", "[3,4], [2], 2", "[2,3,3], [2,3], 0, 1, 2"}).refuses("diagonal_scatter", {"[3,4], [4]"})
      .of("select_scatter", {"[3,4], [4], 0, 1", "[3,4], [3], 1, -1"}).refuses("select_scatter", {"[3,4], [3], 0, 1", "[3,4], [4], 0, 3"})
      .of("slice_scatter", {"[4,3], [2,3], 0, 1, 3", "[3,4], [3,2], 1, 0, None, 2"}).refuses("slice_scatter", {"[4,3], [3,3], 0, 1, 3", "[4,3], [4,3], 0, None, None, 0"})
      .of("slice.Tensor slice_copy.Tensor", {"[4,3], 0, 1, 3", "[3,5], 1, None, None, 2", "[3,5], -1, -2"}).refuses("slice.Tensor slice_copy.Tensor", {"[4], 0, 0, 2, 0", "[4], 0, 0, 2, -1", "[], 0", "[4], 1"})
      .of("select.int select_copy.int", {"[3,4], 0, 1", "[3,4], 1, -1"}).refuses("select.int select_copy.int", {"[3,4], 0, 3", "[3,4], 2, 0", "[], 0, 0"})
      .of("permute permute_copy", {"[2,3,4], [2,0,1]", "[2,3], [-1,0]", "[], []"}).refuses("permute permute_copy", {"[2,3], [0,0]", "[2,3], [0]", "[2,3], [0,2]"})
      .of("transpose.int transpose_copy.int swapaxes swapdims", {"[2,3], 0, 1", "[2,3,4], -1, 0"}).refuses("transpose.int transpose_copy.int swapaxes swapdims", {"[2,3], 0, 2"})
      .of("movedim.int moveaxis.int", {"[2,3,4], 0, 2", "[2,3], -1, 0"}).of("movedim.intlist moveaxis.intlist", {"[2,3,4], [0,1], [2,0]"})
      .refuses("movedim.int moveaxis.int", {"[2,3], 0, 2"}).refuses("movedim.intlist moveaxis.intlist", {"[2,3], [0,0], [0,1]", "[2,3], [0], [0,1]"})
      .of("squeeze.dims squeeze_copy.dims", {"[2,1,3,1], [1,3]", "[2,1], [0]"}).of("unfold unfold_copy", {"[5,3], 0, 3, 2", "[2,6], 1, 2, 2"}).refuses("unfold unfold_copy", {"[5], 0, 6, 1", "[5], 0, 2, 0", "[5], 1, 2, 1", "[5], 0, -1, 1"})
      .of("diagonal diagonal_copy", {"[3,4]", "[3,4], 1", "[2,3,4], -1, 1, 2"}).of("linalg_diagonal", {"[3,4]", "[2,3,4], offset=1"}).refuses("diagonal diagonal_copy", {"[3,4], 0, 1, 1", "[3]"})
      .of("flatten.using_ints", {"[2,3,4]", "[2,3,4], 1", "[]"}).refuses("flatten.using_ints", {"[2,3], 1, 0"})
      .of("atleast_1d.Sequence atleast_2d.Sequence atleast_3d.Sequence broadcast_tensors", {"{[], [3]}", "{[2,3]}"}).refuses("broadcast_tensors", {"{[2], [3]}"})
      .of("meshgrid", {"{[2], [3]}", "{[2], [], [4]}"}).of("meshgrid.indexing", {"{[2], [3]}, indexing='xy'", "{[2], [3], [4]}, indexing='ij'"}).refuses("meshgrid", {"{[2,2], [3]}", "{}"}).refuses("meshgrid.indexing", {"{[2], [3]}, indexing='zz'", "{[2,2], [3]}, indexing='ij'"})
      .of("unbind.int unbind_copy.int", {"[3,2]", "[3,2], 1"})
      .no_gradients("detach detach_copy").dense_only("as_strided as_strided_copy as_strided_scatter");
}

static const Op* const view_op_list[] = {
#define LIST(id, ...) &op_##id,
#define LIST_TWO(id, ...) &op_##id, &op_##id##_copy,
    EACH_VIEW(LIST) EACH_VIEW_AND_COPY(LIST_TWO) EACH_STRICT(LIST_TWO) &op_narrow_copy, &op_unsafe_chunk_copy, &op_unsafe_split_copy,
    &op_unsafe_split_with_sizes_copy, &op_split_sizes, &op_narrow_tensor, &op_atleast_1d_list, &op_atleast_2d_list,
    &op_atleast_3d_list, &op_broadcast_tensors, &op_meshgrid, &op_meshgrid_indexing, EACH_SCATTER(LIST)};
OpFamily view_op_family() { return view_op_list; }

}  // namespace phlox
