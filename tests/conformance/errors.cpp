// Bad arguments, through the C ABI: those that an op's samples refuse, and those that every schema suggests. Each must
// come back as an error that names the op and says the fact, what was got and expected, and what to do.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "cases.h"
#include "ops/forms.h"
#include "ops/registry.h"
#include "phlox/phlox.h"
#include "run.h"

namespace phlox::conformance {

namespace {

struct Counts {
  int64_t samples = 0, failed = 0, own = 0;
};

class OpErrors {
 public:
  OpErrors(const OpInfo& op, Counts& counts, bool verbose)
      : op_(op), samples_(samples_of(op)), counts_(counts), verbose_(verbose) {}

  int run() {
    if (phlox_find_op(op_.schema.full_name().c_str(), &handle_) != PHLOX_OK) return -1;  // a primitive: nobody can call it
    for (const Sample& s : samples_.refused) own(s);
    for (const Sample& s : samples_.calls)
      if (find_base(s)) { derived(s); break; }
    return int(kinds_.size());
  }

 private:
  // The first sample that works, and in which dtype.
  bool find_base(const Sample& s) {
    for (DType d : {DType::f32, DType::i64, DType::boolean, DType::c64}) {
      Call call(s, d, Layout::contiguous, 1);
      if (call_with(handle_, call.args()) == PHLOX_OK) { dtype_ = d; return true; }
    }
    return false;
  }

  static phlox_status call_with(const phlox_op* op, const std::vector<Arg>& args) {
    phlox_tensor* outs[64];
    int32_t n = 64;
    const phlox_status s = phlox_call(op, reinterpret_cast<const phlox_slot*>(args.data()), int32_t(args.size()), outs, &n, "test.cpp:1");
    if (s == PHLOX_OK && n <= 64) for (int32_t i = 0; i < n; ++i) phlox_tensor_release(outs[i]);
    return s;
  }

  void expect_error(const char* kind, const phlox_op* op, const std::vector<Arg>& args, const std::string& what) {
    now_doing(cat(op_.schema.full_name(), ": ", kind, " ", what));
    const phlox_status status = call_with(op, args);
    ++counts_.samples;
    std::string wrong;
    if (status == PHLOX_OK) wrong = "no error";
    else if (status == PHLOX_INTERNAL) wrong = "an internal error";
    static const char* const parts[] = {"op", "fact", "got", "expected", "remedy"};
    for (int i = 0; i < 5 && status != PHLOX_OK; ++i)
      if (!*phlox_error_part(phlox_last_error(), i)) wrong += cat(wrong.empty() ? "" : ", ", "no '", parts[i], "'");
    if (verbose_ || !wrong.empty())
      std::printf("%s: %s: %s%s%s\n", op_.schema.full_name().c_str(), cat(kind, " ", what).c_str(), wrong.c_str(),
                  wrong.empty() ? "" : ": ", status == PHLOX_OK ? "" : phlox_error_message(phlox_last_error()));
    if (!wrong.empty()) ++counts_.failed;
    else kinds_.insert(cat(kind, what));
  }

  // A call that the samples say is refused, in the first dtype that the op takes.
  void own(const Sample& s) {
    for (const Sample& good : samples_.calls) if (find_base(good)) break;
    Call call(s, dtype_, Layout::contiguous, 1);
    ++counts_.own;
    expect_error("refused", handle_, call.args(), s.text);
  }

  void derived(const Sample& s) {
    Call call(s, dtype_, Layout::contiguous, 1);
    const std::vector<Arg> good = call.args();
    const auto& params = op_.schema.params;
    auto with = [&](size_t i, Arg a) { std::vector<Arg> v = good; v[i] = a; return v; };
    std::vector<Arg> more = good;
    more.push_back(Arg::of_dim(1));
    expect_error("too many arguments", handle_, more, "");
    if (!params.empty() && !params[0].has_default) expect_error("no arguments", handle_, {}, "");
    for (size_t i = 0; i < params.size(); ++i) {
      const SchemaParam& p = params[i];
      const std::string& name = p.name;
      if (!p.optional) expect_error("none for", handle_, with(i, {}), name);
      if (p.type == ParamType::tensor && !p.list) {
        Arg undefined;
        undefined.kind = ArgKind::value;
        expect_error("undefined tensor for", handle_, with(i, undefined), name);
      }
      expect_error("another kind for", handle_, with(i, p.type == ParamType::string ? Arg::of_dim(1) : Arg::of_string("text")), name);
      const bool is_dim = p.type == ParamType::integer && name.starts_with("dim") && name != "dimension_count";
      if (is_dim && !p.list && call.has_tensors()) expect_error("out of range for", handle_, with(i, Arg::of_dim(99)), name);
      const Arg far[] = {Arg::of_dim(-99)};
      if (is_dim && p.list && call.has_tensors() && name != "dims" && name != "dims_other") expect_error("out of range for", handle_, with(i, Arg::of_list(far)), name);
      if (p.type == ParamType::string) expect_error("unknown word for", handle_, with(i, Arg::of_string("no such word")), name);
      if (p.type == ParamType::dtype) { Arg a = Arg::of_dtype(DType::f32); a.bits = 99; expect_error("no dtype for", handle_, with(i, a), name); }
      const Arg negative[] = {Arg::of_dim(-7), Arg::of_dim(-7)};
      if (p.type == ParamType::integer && p.list && (name == "size" || name == "shape")) expect_error("negative sizes for", handle_, with(i, Arg::of_list(negative)), name);
    }
    forms(s);
  }

  void forms(const Sample& s) {
    if (has_form(op_, Forms::in_place) && s.args[0].kind == SampleArg::Kind::tensor && dtype_ == DType::f32) {
      const phlox_op* op = nullptr;
      if (phlox_find_op(form_name(op_, OpForm::in_place).c_str(), &op) == PHLOX_OK) {
        Call leaf(s, dtype_, Layout::contiguous, 1);
        leaf.tensors()[0]->requires_grad = true;
        expect_error("a leaf that requires grad in place", op, leaf.args(), "");
        Call expanded(s, dtype_, Layout::expanded, 1);
        const Tensor& self = expanded.tensors()[0];
        if (self->rank() > 0 && self->sizes[0] > 1) expect_error("an expanded tensor in place", op, expanded.args(), "");
      }
    }
    if (!has_form(op_, Forms::out)) return;
    const phlox_op* op = nullptr;
    if (phlox_find_op(form_name(op_, OpForm::out).c_str(), &op) != PHLOX_OK) return;
    Call call(s, dtype_, Layout::contiguous, 1);
    std::vector<Arg> args = call.args();
    expect_error("out= missing", op, {}, "");
    std::vector<Arg> none = args;
    none.resize(args.size() + op_.schema.returns.size());
    expect_error("none for out=", op, none, "");
    const Tensors results = call_op(op_, args, &cpu_device());
    if (!is_float(results[0]->dtype)) return;
    std::vector<Tensor> ints;
    for (const Tensor& r : results) {
      ints.push_back(make_tensor(cpu_device(), DType::i32, r->sizes));
      args.push_back(tensor_arg(ints.back()));
    }
    expect_error("integers as out=", op, args, "");
  }

  const OpInfo& op_;
  const Samples samples_;
  Counts& counts_;
  const bool verbose_;
  const phlox_op* handle_ = nullptr;
  DType dtype_ = DType::f32;
  std::set<std::string> kinds_;
};

}  // namespace

int64_t run_errors(const Options& o) {
  setenv("PHLOX_COMPILER", "off", 1);  // calls that work run on the interpreter: only errors are of interest
  Counts counts;
  int64_t ops = 0, internal = 0, few = 0;
  for (const OpInfo* op : all_ops()) {
    if (!o.op.empty() && op->schema.full_name() != o.op) continue;
    const int n = OpErrors(*op, counts, o.verbose).run();
    if (n < 0) { ++internal; continue; }
    ++ops;
    if (n < 3) { std::printf("%s: only %d error samples\n", op->schema.full_name().c_str(), n); ++few; }
  }
  std::printf("%lld ops (%lld primitives that no user can call), %lld error samples, %lld of them the ops' own; %lld failed\n", (long long)ops,
              (long long)internal, (long long)counts.samples, (long long)counts.own, (long long)(counts.failed + few));
  return counts.failed + few;
}

}  // namespace phlox::conformance
