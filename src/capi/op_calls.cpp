#include <cstddef>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "base/root.h"
#include "capi/host_view.h"
#include "capi/op_handle.h"
#include "capi_rt/boundary.h"
#include "eager/autograd.h"
#include "eager/exact.h"
#include "ops/registry.h"

namespace phlox {

static_assert(sizeof(phlox_slot) == sizeof(Arg) && alignof(phlox_slot) == alignof(Arg));
static_assert(offsetof(phlox_slot, kind) == offsetof(Arg, kind) && offsetof(phlox_slot, extra) == offsetof(Arg, extra) &&
              offsetof(phlox_slot, count) == offsetof(Arg, count) && offsetof(phlox_slot, u) == offsetof(Arg, bits));
static_assert(int(ArgKind::none) == PHLOX_SLOT_NONE && int(ArgKind::value) == PHLOX_SLOT_TENSOR &&
              int(ArgKind::boolean) == PHLOX_SLOT_BOOL && int(ArgKind::dim) == PHLOX_SLOT_INT &&
              int(ArgKind::real) == PHLOX_SLOT_REAL && int(ArgKind::complex) == PHLOX_SLOT_COMPLEX &&
              int(ArgKind::string) == PHLOX_SLOT_STRING && int(ArgKind::dtype) == PHLOX_SLOT_DTYPE &&
              int(ArgKind::device) == PHLOX_SLOT_DEVICE && int(ArgKind::layout) == PHLOX_SLOT_LAYOUT &&
              int(ArgKind::memory_format) == PHLOX_SLOT_MEMORY_FORMAT && int(ArgKind::generator) == PHLOX_SLOT_GENERATOR &&
              int(ArgKind::list) == PHLOX_SLOT_LIST);

// --- names and forms

namespace {
struct HandleTable {
  std::shared_mutex mutex;
  std::deque<phlox_op> handles;
  std::unordered_map<std::string, const phlox_op*> by_name;
};

}  // namespace

const phlox_op* find_op_handle(std::string_view name) {
  HandleTable& t = root_object<HandleTable>();
  const std::string key(name);
  {
    std::shared_lock lock(t.mutex);
    if (auto it = t.by_name.find(key); it != t.by_name.end()) return it->second;
  }
  const FormedOp f = find_form(name);
  if (!f.info) return nullptr;
  std::unique_lock lock(t.mutex);
  if (auto it = t.by_name.find(key); it != t.by_name.end()) return it->second;
  t.handles.push_back({f.info, f.form, key, form_schema(*f.info, f.form)});
  return t.by_name.emplace(key, &t.handles.back()).first->second;
}

// --- arguments

namespace {

constexpr uint32_t bit(ArgKind k) { return 1u << int(k); }
constexpr uint32_t allowed_kinds(ParamType t) {
  switch (t) {
    case ParamType::tensor: return bit(ArgKind::value);
    case ParamType::scalar: return bit(ArgKind::boolean) | bit(ArgKind::dim) | bit(ArgKind::real) | bit(ArgKind::complex);
    case ParamType::integer: return bit(ArgKind::dim);
    case ParamType::real: return bit(ArgKind::real);
    case ParamType::boolean: return bit(ArgKind::boolean);
    case ParamType::string: return bit(ArgKind::string);
    case ParamType::dtype: return bit(ArgKind::dtype);
    case ParamType::device: return bit(ArgKind::device);
    case ParamType::layout: return bit(ArgKind::layout);
    case ParamType::memory_format: return bit(ArgKind::memory_format);
    case ParamType::generator: return bit(ArgKind::generator);
  }
  return 0;
}

const char* kind_name(ArgKind k) {
  static const char* const names[] = {"none", "a tensor", "a bool", "an int", "a float", "a complex number", "a string", "a dtype",
                                      "a device", "a layout", "a memory format", "a generator", "a list"};
  return uint8_t(k) < 13 ? names[int(k)] : "a slot of unknown kind";
}

class Checker {
 public:
  explicit Checker(const phlox_op& op) : op_(op) {}

  SmallVector<Arg, 8> check(std::span<const Arg> given) {
    const auto& params = op_.info->schema.params;
    if (given.size() > params.size())
      error("takes fewer arguments", cat(given.size()), cat("at most ", params.size()));
    SmallVector<Arg, 8> args(given);
    for (size_t i = 0; i < args.size(); ++i) args[i] = one(args[i], params[i]);
    // All arguments are given from here on: eager's shortest way knows only complete calls.
    for (size_t i = given.size(); i < params.size(); ++i) {
      const SchemaParam& p = params[i];
      if (!p.has_default) error(cat("argument '", p.name, "' is missing"), cat(given.size(), " arguments"), {});
      const bool one_for_all = p.list && p.fixed_size > 0 && !p.default_value.is_none() && p.default_value.kind != ArgKind::list;
      args.push_back(one_for_all ? repeated(p.default_value, p.fixed_size) : p.default_value);
    }
    return args;
  }

 private:
  Arg one(Arg a, const SchemaParam& p) {
    if (a.kind == ArgKind::none) {
      if (!p.optional) error(cat("argument '", p.name, "' may not be none"), "none", cat("a ", param_type_name(p.type)));
      return a;
    }
    if (!p.list) return scalar(a, p, p.name);
    if (a.kind != ArgKind::list && p.fixed_size > 0) return repeated(scalar(a, p, p.name), p.fixed_size);
    if (a.kind != ArgKind::list)
      error(cat("argument '", p.name, "' is of another kind"), kind_name(a.kind), cat("a list of ", param_type_name(p.type)));
    return items(a, p);
  }

  Arg items(const Arg& a, const SchemaParam& p) {
    if (a.count && !a.list) error(cat("argument '", p.name, "' has no items"), "null", {});
    const uint32_t wanted = allowed_kinds(p.type) | (p.optional_items ? bit(ArgKind::none) : 0);
    std::vector<Arg>* converted = nullptr;
    for (uint32_t i = 0; i < a.count; ++i) {
      const Arg& item = a.list[i];
      const bool fits = uint8_t(item.kind) < 13 && (wanted >> int(item.kind) & 1);
      if (fits && item.kind == ArgKind::value && item.bits) continue;
      if (fits && item.kind == ArgKind::none) continue;
      if (!converted) converted = &kept_.emplace_back(a.list, a.list + a.count);
      (*converted)[i] = scalar(item, p, cat(p.name, "[", i, "]"));
    }
    return converted ? Arg::of_list(*converted) : a;
  }

  Arg repeated(const Arg& a, int n) {
    return Arg::of_list(kept_.emplace_back(size_t(n), a));
  }

  Arg scalar(const Arg& a, const SchemaParam& p, const std::string& name) {
    if (uint8_t(a.kind) < 13 && (allowed_kinds(p.type) >> int(a.kind) & 1)) {
      if (a.kind == ArgKind::value && !a.bits) error(cat("argument '", name, "' is an undefined tensor"), "undefined", "a tensor");
      check_content(a, name);
      return a;
    }
    // What Python would also accept: an int for a float, a bool for an int.
    if (p.type == ParamType::real && a.kind == ArgKind::dim) return Arg::of_real(double(a.dim));
    if (p.type == ParamType::real && a.kind == ArgKind::boolean) return Arg::of_real(double(a.bits));
    if (p.type == ParamType::integer && a.kind == ArgKind::boolean) return Arg::of_dim(int64_t(a.bits));
    error(cat("argument '", name, "' is of another kind"), kind_name(a.kind), cat("a ", param_type_name(p.type)));
  }

  // Bits that a slot of this kind may hold: what comes over the ABI is checked before anything reads it.
  void check_content(const Arg& a, const std::string& name) const {
    switch (a.kind) {
      case ArgKind::dim:
        // Sums and differences of two of them must stay numbers: see Dim.
        if (a.dim < Dim::tag_limit / 2) error(cat("argument '", name, "' is out of range"), cat(a.dim), cat("at least ", Dim::tag_limit / 2));
        break;
      case ArgKind::dtype:
        if (a.bits >= uint64_t(dtype_count)) error(cat("argument '", name, "' is no dtype"), cat(a.bits), cat("0 to ", dtype_count - 1));
        break;
      case ArgKind::string:
        if (!a.string && a.count) error(cat("argument '", name, "' has no text"), "null", "a string");
        break;
      case ArgKind::complex:
        if (!a.complex) error(cat("argument '", name, "' has no value"), "null", "a pointer to two doubles");
        break;
      default: break;
    }
  }

  [[noreturn]] void error(std::string fact, std::string got, std::string expected) const {
    if (expected.empty()) expected = "arguments as in the signature";
    fail(ErrorCode::invalid_argument, {.op = op_.name, .fact = std::move(fact), .got = std::move(got),
                                       .expected = std::move(expected), .remedy = cat("the signature is ", op_.schema)});
  }

  const phlox_op& op_;
  std::vector<std::vector<Arg>> kept_;  // moving a vector keeps its items in place
};

// The device that an argument names, for ops that make tensors.
Device* named_device(std::span<const Arg> args) {
  for (const Arg& a : args)
    if (a.kind == ArgKind::device) return &need_device({int32_t(a.bits), a.extra});
  return nullptr;
}

}  // namespace

static void mark_inference(std::span<const Tensor> results) {
  if (inference_enabled())
    for (const Tensor& t : results) t->inference = true;
}

void call_handle(const phlox_op& op, std::span<const Arg> args, phlox_tensor** outs, int32_t* n_outs) {
  ExactKey key;
  const bool exact = op.form == OpForm::functional && key.encode(*op.info, args);
  if (exact)
    if (const ExactEntry* e = key.find()) {
      Tensor results[ExactKey::max_results];
      size_t n = 0;
      try {
        n = run_exact(*e, key, results);
      } catch (const InternalError&) {
        throw;
      } catch (const Error& error) {
        complete_error(*op.info, args, error);
      }
      const std::span<Tensor> given(results, n);
      mark_inference(given);
      return give_results(given, outs, n_outs);
    }
  Tensors results = call_handle(op, args, exact ? &key : nullptr);
  give_results(results, outs, n_outs);
}

Tensors call_handle(const phlox_op& op, std::span<const Arg> given, const ExactKey* key) {
  const size_t filled = op.form == OpForm::out ? op.info->schema.returns.size() : 0;
  if (given.size() < filled)
    fail(ErrorCode::invalid_argument, {.op = op.name, .fact = "the tensors to fill are missing", .got = cat(given.size(), " arguments"),
                                       .expected = cat("at least ", filled), .remedy = cat("the signature is ", op.schema)});
  Checker checker(op);
  SmallVector<Arg, 8> args = checker.check(given.first(given.size() - filled));
  Device* const device = named_device(args);
  Tensor moved;  // an op that names a device takes its tensor there first
  if (device && args[0].kind == ArgKind::value) {
    moved = to_device(Tensor::share(reinterpret_cast<TensorImpl*>(args[0].bits)), *device);
    args[0] = tensor_arg(moved);
  }
  Tensors results;
  if (op.form == OpForm::functional) {
    results = device || !key ? call_op(*op.info, args, device) : call_new(*op.info, args, nullptr, key);
    if (!op.info->op->record.view) mark_inference(results);
  } else if (op.form == OpForm::in_place) {
    if (args.empty() || args[0].kind != ArgKind::value)
      fail(ErrorCode::invalid_argument, {.op = op.name, .fact = "the first argument is no tensor to change",
                                         .got = "none", .expected = "a tensor", .remedy = cat("the signature is ", op.schema)});
    call_in_place(*op.info, args);
    results.push_back(Tensor::share(reinterpret_cast<TensorImpl*>(args[0].bits)));
  } else {
    for (const Arg& a : given.last(filled)) {
      if (a.kind != ArgKind::value || !a.bits)
        fail(ErrorCode::invalid_argument, {.op = op.name, .fact = "an argument to fill is no tensor", .got = kind_name(a.kind),
                                           .expected = "a tensor", .remedy = cat("the signature is ", op.schema)});
      results.push_back(Tensor::share(reinterpret_cast<TensorImpl*>(a.bits)));
    }
    call_out(*op.info, args, results);
  }
  return results;
}

static thread_local bool some_wait = false;  // so that a call need not look at the list
static Tensors& waiting_results() {
  static thread_local std::unique_ptr<Tensors> results;
  if (!results) results = std::make_unique<Tensors>();
  return *results;
}
void forget_waiting_results() {
  if (!some_wait) return;
  waiting_results().clear();
  some_wait = false;
}
void give_results(std::span<Tensor> results, phlox_tensor** outs, int32_t* n_outs) {
  const int32_t room = outs ? *n_outs : 0, n = int32_t(results.size());
  *n_outs = n;
  if (n > room) {
    for (Tensor& t : results) waiting_results().push_back(std::move(t));
    some_wait = true;
    return;
  }
  for (int32_t i = 0; i < n; ++i) outs[i] = to_handle(std::move(results[size_t(i)]));
}

}  // namespace phlox

using namespace phlox;

extern "C" {

// Primitives are the compiler's words: most trust what an op's rule has checked. These are for everybody.
static bool is_public(std::string_view name) {
  return !name.starts_with("prim::") || name == "prim::cast" || name == "prim::copy" || name == "prim::permute";
}

phlox_status phlox_find_op(const char* name, const phlox_op** out) {
  return guarded([&] {
    need_out(out, "find_op");
    if (!name) null_handle("find_op", "name");
    const phlox_op* op = is_public(name) ? find_op_handle(name) : nullptr;
    if (!op) {
      std::string near;
      const std::string_view base = std::string_view(name).substr(0, std::string_view(name).find('.'));
      for (const OpInfo* i : all_ops())
        if (i->schema.name == base || i->schema.name == base.substr(0, base.size() - (base.ends_with('_') ? 1 : 0)))
          near += cat(near.empty() ? "" : ", ", i->schema.full_name());
      fail(ErrorCode::not_found, {.op = "find_op", .fact = "there is no such op", .got = name, .expected = near.empty() ? "the name of an op" : near,
                                  .remedy = "the op reference lists all names"});
    }
    *out = op;
  });
}
const char* phlox_op_name(const phlox_op* op) { return op->name.c_str(); }
const char* phlox_op_schema(const phlox_op* op) { return op->schema.c_str(); }
const char* phlox_op_doc(const phlox_op* op) { return op->info->op->record.doc; }

phlox_status phlox_call(const phlox_op* op, const phlox_slot* args, int32_t n_args, phlox_tensor** outs, int32_t* n_outs,
                        const char*) {
  return guarded([&] {
    if (!op) null_handle("call", "op");
    if (n_args < 0 || (n_args > 0 && !args)) null_handle("call", "arguments");
    need_out(n_outs, "call");
    forget_waiting_results();
    call_handle(*op, {reinterpret_cast<const Arg*>(args), size_t(n_args)}, outs, n_outs);
  });
}

int32_t phlox_take_results(phlox_tensor** outs, int32_t room) {
  Tensors& waiting = waiting_results();
  int32_t n = 0;
  if (room < int32_t(waiting.size()) || !outs) return 0;
  for (Tensor& t : waiting) outs[n++] = to_handle(std::move(t));
  forget_waiting_results();
  return n;
}

}  // extern "C"
