// Random calls through the C ABI: a random op, arguments of which some fit its schema and most are wrong in some way,
// on tiny tensors of every dtype and layout. Whatever happens, it is a result or an error: never a signal, never an
// internal error, never a leak. Calls run on the interpreter (set PHLOX_COMPILER=off): new kinds of calls cost no
// compilation, and the rules, shapes and memory are the same.
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>

#include "base/error.h"
#include "base/hash.h"
#include "cases.h"
#include "ops/forms.h"
#include "ops/registry.h"
#include "phlox/phlox.h"
#include "run.h"

namespace phlox::conformance {

namespace {

struct Draw {
  uint64_t state;
  uint64_t next() { return mix64(state += 0x9e3779b97f4a7c15ull); }
  int64_t below(int64_t n) { return int64_t(next() % uint64_t(n)); }
  bool chance(int percent) { return below(100) < percent; }
};

struct Target {
  const phlox_op* handle;
  const OpInfo* info;
  OpForm form;
  Samples samples;
};

class Arguments {
 public:
  Arguments(const Target& t, Draw& draw, const std::vector<Tensor>& pool) : target_(t), draw_(draw), pool_(pool) {}

  std::vector<Arg> make() {
    const auto& samples = target_.samples.calls;
    // Half of the calls start from one that is right and go wrong in a place or two.
    if (!samples.empty() && draw_.chance(50)) {
      const DType d = draw_.chance(60) ? DType::f32 : tested_dtypes[draw_.below(std::size(tested_dtypes))];
      call_ = std::make_unique<Call>(samples[size_t(draw_.below(int64_t(samples.size())))], d, Layout(draw_.below(layout_count)), draw_.next());
      args_ = call_->args();
      const int64_t wrong = draw_.below(3);
      for (int64_t i = 0; i < wrong && !args_.empty(); ++i) {
        const size_t at = size_t(draw_.below(int64_t(args_.size())));
        args_[at] = draw_.chance(80) ? fitting(target_.info->schema.params[at]) : anything(2);
      }
    } else {
      for (const SchemaParam& p : target_.info->schema.params)
        args_.push_back(p.has_default && draw_.chance(40) ? p.default_value : draw_.chance(93) ? fitting(p) : anything(2));
      if (draw_.chance(3)) args_.push_back(anything(1));
      if (draw_.chance(5) && !args_.empty()) args_.pop_back();
    }
    if (target_.form == OpForm::out)
      for (size_t i = 0; i < target_.info->schema.returns.size(); ++i) args_.push_back(draw_.chance(95) ? tensor() : anything(1));
    return args_;
  }

  std::string text() const {
    std::string s = target_.info->schema.full_name();
    s += target_.form == OpForm::in_place ? " in place(" : target_.form == OpForm::out ? " out=(" : "(";
    auto one = [](auto&& self, const Arg& a) -> std::string {
      switch (a.kind) {
        case ArgKind::none: return "None";
        case ArgKind::value: return a.bits ? tensor_text(*reinterpret_cast<TensorImpl*>(a.bits)) : "undefined";
        case ArgKind::boolean: return a.bits ? "True" : "False";
        case ArgKind::dim: return cat(a.dim);
        case ArgKind::real: return cat(a.real);
        case ArgKind::string: return cat("'", a.as_string(), "'");
        case ArgKind::list: {
          std::string l;
          for (const Arg& i : a.items()) l += cat(l.empty() ? "" : ", ", self(self, i));
          return cat("[", l, "]");
        }
        default: return cat("kind ", int(a.kind), " ", a.bits);
      }
    };
    for (size_t i = 0; i < args_.size(); ++i) s += cat(i ? ", " : "", one(one, args_[i]));
    return cat(s, ")");
  }

 private:
  Arg tensor() {
    if (draw_.chance(1)) { Arg a; a.kind = ArgKind::value; return a; }
    return tensor_arg(pool_[size_t(draw_.below(int64_t(pool_.size())))]);
  }
  Arg integer() {
    static constexpr int64_t odd[] = {INT64_MIN, INT64_MAX, INT64_MIN / 2, 1ll << 40, -(1ll << 40), 1 << 20, 99, -99};
    return Arg::of_dim(Dim::from_raw(draw_.chance(94) ? draw_.below(8) - 3 : odd[draw_.below(std::size(odd))]));
  }
  Arg real() {
    static constexpr double odd[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e300, -1e-300, 1e20};
    return Arg::of_real(draw_.chance(80) ? double(draw_.below(64) - 20) / 8 : odd[draw_.below(std::size(odd))]);
  }
  Arg word() {
    static constexpr const char* words[] = {"none", "mean", "sum", "prod", "amax", "floor", "trunc", "reflect", "same", "valid", "ij", "xy",
                                            "ij,jk->ik", "linear", "nearest", "ortho", "forward", "add", "tanh", "right", "", "->", "i...,.", "a b->"};
    return Arg::of_string(words[draw_.below(std::size(words))]);
  }
  Arg list(const SchemaParam& p) {
    std::vector<Arg> items;
    const int64_t n = draw_.below(p.type == ParamType::tensor ? 4 : 5);
    for (int64_t i = 0; i < n; ++i)
      items.push_back(p.optional_items && draw_.chance(30) ? Arg{} : draw_.chance(97) ? single(p) : anything(1));
    lists_.push_back(std::move(items));
    return Arg::of_list(lists_.back());
  }
  Arg single(const SchemaParam& p) {
    switch (p.type) {
      case ParamType::tensor: return tensor();
      case ParamType::scalar: return draw_.chance(40) ? integer() : draw_.chance(80) ? real() : Arg::of_bool(draw_.chance(50));
      case ParamType::integer: return integer();
      case ParamType::real: return real();
      case ParamType::boolean: return Arg::of_bool(draw_.chance(50));
      case ParamType::string: return word();
      case ParamType::dtype: {
        Arg a;
        a.kind = ArgKind::dtype;
        a.bits = draw_.chance(98) ? uint64_t(tested_dtypes[draw_.below(std::size(tested_dtypes))]) : uint64_t(draw_.below(300));
        return a;
      }
      case ParamType::device: { Arg a; a.kind = ArgKind::device; a.bits = draw_.chance(90) ? 0 : uint64_t(draw_.below(3)); return a; }
      default: return {};
    }
  }
  Arg fitting(const SchemaParam& p) {
    if (p.optional && draw_.chance(40)) return {};
    return p.list && !(p.fixed_size && draw_.chance(30)) ? list(p) : single(p);
  }
  Arg anything(int depth) {
    static constexpr ParamType types[] = {ParamType::tensor, ParamType::scalar, ParamType::integer, ParamType::real, ParamType::boolean,
                                          ParamType::string, ParamType::dtype, ParamType::device};
    SchemaParam p;
    p.type = types[draw_.below(std::size(types))];
    p.list = depth > 0 && draw_.chance(25);
    return fitting(p);
  }

  const Target& target_;
  Draw& draw_;
  const std::vector<Tensor>& pool_;
  std::unique_ptr<Call> call_;
  std::vector<Arg> args_;
  std::vector<std::vector<Arg>> lists_;
};

std::vector<Tensor> make_pool(uint64_t seed) {
  std::vector<Tensor> pool;
  for (const Ints& shape : {Ints{}, Ints{1}, Ints{3}, Ints{4}, Ints{0}, Ints{2, 3}, Ints{3, 3}, Ints{1, 3}, Ints{4, 2}, Ints{0, 3}, Ints{2, 3, 4}, Ints{1, 2, 4},
                            Ints{1, 2, 3, 4}, Ints{2, 2, 3, 3}, Ints{1, 1, 3, 3, 3}, Ints{2, 0, 2}})
    for (DType d : tested_dtypes)
      for (Layout l : {Layout::contiguous, Layout::transposed, Layout::sliced}) {
        if (l != Layout::contiguous && (shape.size() < 2 || mix64(seed + pool.size()) % 3)) continue;
        SampleTensor t;
        t.shape = shape;
        t.low = -2;
        t.high = 3;
        pool.push_back(stored(fill_sample(t, d, combine(seed, pool.size())), l));
      }
  return pool;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double cpu_seconds() { return double(std::clock()) / CLOCKS_PER_SEC; }  // of all threads: a busy machine is no slow call

}  // namespace

int64_t run_random_calls(const Options& o) {
  setenv("PHLOX_COMPILER", "off", 1);
  setenv("PHLOX_CPU_MEMORY_LIMIT", "100000000", 0);  // more than that is an error, not a wait
  std::vector<Target> targets;
  for (const OpInfo* op : all_ops())
    for (OpForm f : {OpForm::functional, OpForm::in_place, OpForm::out}) {
      if (f != OpForm::functional && !has_form(*op, f == OpForm::in_place ? Forms::in_place : Forms::out)) continue;
      if (!o.op.empty() && op->schema.full_name() != o.op) continue;
      const phlox_op* handle = nullptr;
      if (phlox_find_op(form_name(*op, f).c_str(), &handle) == PHLOX_OK) targets.push_back({handle, op, f, samples_of(*op)});
    }
  const double start = now();
  int64_t done = 0, ok = 0, errors = 0, failed = 0;
  std::map<std::string, int64_t> reported;
  std::vector<Tensor> pool;
  uint64_t pool_of = ~0ull;
  // One call; the thousand that it is of decides its tensors, which calls may change.
  auto call = [&](int64_t i) {
    if (uint64_t(i / 1000) != pool_of) {
      pool_of = uint64_t(i / 1000);
      pool = make_pool(combine(o.seed, pool_of));
    }
    Draw draw{combine(o.seed, uint64_t(i))};
    const Target& t = targets[size_t(draw.below(int64_t(targets.size())))];
    Arguments made(t, draw, pool);
    const std::vector<Arg> args = made.make();
    now_doing(cat("call ", i, " of seed ", o.seed, ": ", made.text()));
    phlox_tensor* outs[64];
    int32_t n = 64;
    const double before = cpu_seconds();
    alarm(120);
    const phlox_status s = phlox_call(t.handle, reinterpret_cast<const phlox_slot*>(args.data()), int32_t(args.size()), outs, &n, "random:1");
    const double seconds = cpu_seconds() - before;
    if (s == PHLOX_OK && n <= 64) for (int32_t k = 0; k < n; ++k) phlox_tensor_release(outs[k]);
    ++done;
    (s == PHLOX_OK ? ok : errors)++;
    std::string wrong;
    if (s == PHLOX_INTERNAL) wrong = cat("internal error: ", phlox_error_message(phlox_last_error()));
    for (int k = 0; k < 5 && s != PHLOX_OK && wrong.empty(); ++k)
      if (!*phlox_error_part(phlox_last_error(), k)) wrong = cat("an error without part ", k, ": ", phlox_error_message(phlox_last_error()));
    if (seconds > 2) wrong = cat("took ", seconds, " s of processor time");
    if (wrong.empty()) return;
    ++failed;
    if (reported[t.info->schema.full_name()]++ < (o.verbose ? 100 : 1))
      std::printf("call %lld: %s: %s\n", (long long)i, made.text().c_str(), wrong.c_str());
  };
  for (int64_t i = o.first_call; i < o.first_call + o.calls && now() - start < o.seconds; ++i) call(i);
  const double seconds = now() - start;
  // Kinds of calls are remembered, values are not: what was called twice takes no memory the third time.
  const int64_t again = std::min<int64_t>(done, 2000), all = done, results = ok;
  size_t before = 0;
  for (int round = 0; round < 3; ++round) {
    pool.clear();
    pool_of = ~0ull;
    before = mallinfo2().uordblks;
    for (int64_t i = 0; i < again; ++i) call(o.first_call + i);
  }
  pool.clear();
  const int64_t grown = int64_t(mallinfo2().uordblks) - int64_t(before);
  if (grown > 1 << 20) { std::printf("%lld calls that were made before took %lld bytes\n", (long long)again, (long long)grown); ++failed; }
  std::printf("%lld random calls of %zu ops and forms in %.1f s: %lld results, %lld errors; made again, %lld calls kept %lld bytes; %lld failed\n",
              (long long)all, targets.size(), seconds, (long long)results, (long long)(all - results), (long long)again, (long long)grown,
              (long long)failed);
  return failed;
}

}  // namespace phlox::conformance
