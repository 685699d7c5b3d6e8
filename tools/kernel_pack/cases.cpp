#include "cases.h"

#include <algorithm>

#include "ops/registry.h"

namespace phlox {

namespace {

// What programs call every day. Overloads, forms and types of these come from the registry.
constexpr const char* everyday[] = {
    "add", "sub", "rsub", "mul", "div", "neg", "abs", "pow", "sqrt", "rsqrt", "square", "reciprocal", "exp", "log", "log1p", "tanh",
    "sigmoid", "relu", "gelu", "silu", "leaky_relu", "elu", "softplus", "hardtanh", "erf", "sin", "cos", "clamp", "clamp_min", "clamp_max",
    "minimum", "maximum", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and", "logical_or", "where", "masked_fill", "floor",
    "ceil", "round", "sign", "isnan", "sum", "mean", "amax", "amin", "max", "min", "argmax", "prod", "any", "all", "var", "std", "softmax",
    "log_softmax", "cumsum", "zeros_like", "ones_like", "full_like", "mse_loss", "l1_loss", "addcmul", "addcdiv", "lerp"};

// Sizes only matter as a pattern: two different ones, none of them 1.
constexpr int64_t rows = 64, row = 1024;

// How an op is called: by its required parameters. Others keep their defaults.
enum class Form : uint8_t { none, unary, binary, ternary, unary_dim, unary_dims, unary_scalar };

bool is_condition(const SchemaParam& p) { return p.type == ParamType::tensor && (p.name == "condition" || p.name == "mask"); }

Form form_of(const Schema& s) {
  int tensors = 0, dims = 0, dim_lists = 0, scalars = 0;
  for (const SchemaParam& p : s.params) {
    if (p.has_default || p.optional) continue;
    if (is_condition(p)) continue;
    if (p.type == ParamType::tensor && !p.list) ++tensors;
    else if (p.type == ParamType::integer && !p.list && p.name == "dim") ++dims;
    else if (p.type == ParamType::integer && p.list && p.name == "dim") ++dim_lists;
    else if (p.type == ParamType::scalar) ++scalars;
    else return Form::none;
  }
  const int others = dims + dim_lists + scalars;
  if (tensors == 2 && others == 0) return Form::binary;
  if (tensors == 3 && others == 0) return Form::ternary;
  if (tensors != 1 || others > 1) return Form::none;
  return dims ? Form::unary_dim : dim_lists ? Form::unary_dims : scalars ? Form::unary_scalar : Form::unary;
}

bool is_everyday(const OpInfo& op) {
  const OpRecord& r = op.op->record;
  return r.effects == Effects::none && !r.view && !r.reference &&
         std::any_of(std::begin(everyday), std::end(everyday), [&](const char* n) { return op.schema.name == n; });
}

class Cases {
 public:
  explicit Cases(const std::function<void(PackCase&)>& f) : f_(f) {}

  void run() {
    for (const OpInfo* op : all_ops())
      if (is_everyday(*op)) of_op(*op);
    casts();
    copies();
    modules();
  }

 private:
  static Tensor tensor(DType d, Ints sizes) { return make_tensor(cpu_device(), d, sizes); }
  static Tensor transposed(DType d, int64_t m, int64_t n) { return make_view(tensor(d, {m, n}), 0, {n, m}, {1, n}); }

  // Kernels of types other than f32 are taken where they are short, and without those of gradients.
  void begin(const OpInfo& op, bool common = true) {
    now_ = {};
    now_.op = &op;
    now_.common = common;
    for (const SchemaParam& p : op.schema.params) now_.args.push_back(p.default_value);
  }
  void set(const char* param, Arg a) {
    const int i = now_.op->schema.find(param);
    if (i >= 0) now_.args[size_t(i)] = a;
  }
  Arg own(Tensor t) {
    now_.tensors.push_back(std::move(t));
    return tensor_arg(now_.tensors.back());
  }
  Arg own(std::vector<Arg> items) {
    now_.lists.push_back(std::move(items));
    return Arg::of_list(now_.lists.back());
  }
  void end() { f_(now_); }

  void call(const OpInfo& op, Form form, const Tensor& a, const Tensor& b, bool common) {
    begin(op, common);
    int tensors = 0;
    for (size_t i = 0; i < op.schema.params.size(); ++i) {
      const SchemaParam& p = op.schema.params[i];
      if (p.has_default || p.optional) continue;
      if (is_condition(p)) now_.args[i] = own(tensor(DType::boolean, a->sizes));
      else if (p.type == ParamType::tensor) now_.args[i] = own(tensors++ ? b : a);
      else if (form == Form::unary_dim) now_.args[i] = Arg::of_dim(-1);
      else if (form == Form::unary_dims) now_.args[i] = own({Arg::of_dim(-1)});
      else now_.args[i] = is_float(a->dtype) ? Arg::of_real(2.5) : Arg::of_dim(2);
    }
    end();
  }

  void of_op(const OpInfo& op) {
    const Form form = form_of(op.schema);
    if (form == Form::none) return;
    static constexpr DType types[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32, DType::boolean};
    for (DType d : types) {
      const bool common = d == DType::f32;
      const Tensor a = tensor(d, {rows, row});
      call(op, form, a, tensor(d, {rows, row}), common);
      if (common && (form == Form::unary || form == Form::unary_scalar)) call(op, form, tensor(d, {}), a, true);  // a number
      if (common && form == Form::unary) call(op, form, tensor(d, {row}), a, true);  // a vector
      if (common && (form == Form::unary || form == Form::unary_scalar)) call(op, form, transposed(d, rows, row), a, false);
      if (form == Form::binary) {
        call(op, form, a, tensor(d, {row}), false);  // a bias
        call(op, form, a, tensor(d, {}), false);     // a number in a tensor
        if (common) call(op, form, tensor(d, {}), tensor(d, {}), false);
        if (common) call(op, form, a, transposed(d, row, rows), false);
      }
      // A dimension that is optional: the last one, all, and the first.
      const int dim = op.schema.find("dim");
      if (form != Form::unary || dim < 0 || op.schema.params[size_t(dim)].type != ParamType::integer) continue;
      for (int64_t which : {-1, 0}) {
        begin(op, common);
        now_.args[0] = own(a);
        now_.args[size_t(dim)] = op.schema.params[size_t(dim)].list ? own({Arg::of_dim(which)}) : Arg::of_dim(which);
        end();
      }
    }
  }

  void casts() {
    const OpInfo* op = find_op("_to_copy");
    static constexpr DType types[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean};
    for (DType from : types)
      for (DType to : types) {
        if (!op || from == to) continue;
        begin(*op);
        now_.args[0] = own(tensor(from, {rows, row}));
        set("dtype", Arg::of_dtype(to));
        end();
      }
  }

  // Copies of all layouts: contiguous(), reshape() of views, writes through views.
  void copies() {
    const OpInfo* op = find_op("prim::copy");
    for (DType d : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
      const Tensor t = tensor(d, {8, 16, 32, 64});
      const Tensor views[] = {tensor(d, {rows, row}), transposed(d, rows, row), make_view(t, 0, {8, 32, 16, 64}, {32768, 64, 2048, 1}),
                              make_view(t, 0, {8, 32, 64, 16}, {32768, 64, 1, 2048}), make_view(t, 0, {8, 64, 32}, {32768, 1, 64}),
                              make_view(t, 0, {64, 100}, {1024, 1}),
                              // expanded: the gradients of sums
                              make_view(t, 0, {rows, row}, {0, 0}), make_view(t, 0, {rows, row}, {0, 1}), make_view(t, 0, {rows, row}, {1, 0}),
                              make_view(t, 0, {row}, {0})};
      for (const Tensor& v : views) {
        begin(*op);
        now_.args[0] = own(v);
        end();
      }
    }
  }

  // What layers call.
  void modules() {
    for (DType d : {DType::f32, DType::bf16}) {
      const Tensor x = tensor(d, {rows, row}), w = tensor(d, {row});
      for (const char* name : {"clamp", "cat", "stack", "zero", "arange", "arange.start"}) {
        const OpInfo* op = find_op(name);
        if (!op) continue;
        begin(*op);
        set("self", own(x));
        set("input", own(x));
        set("min", Arg::of_real(0));
        set("max", Arg::of_real(1));
        set("start", Arg::of_dim(2));
        set("end", Arg::of_dim(10));
        if (op->schema.find("tensors") >= 0) set("tensors", own({own(x), own(tensor(d, {rows, row}))}));
        end();
      }
      if (const OpInfo* op = find_op("layer_norm")) {
        begin(*op);
        now_.args[0] = own(x);
        set("normalized_shape", own({Arg::of_dim(row)}));
        set("weight", own(w));
        set("bias", own(w));
        end();
      }
      if (const OpInfo* op = find_op("rms_norm")) {
        begin(*op);
        now_.args[0] = own(x);
        set("normalized_shape", own({Arg::of_dim(row)}));
        set("weight", own(w));
        end();
      }
      if (const OpInfo* op = find_op("gelu")) {
        begin(*op);
        now_.args[0] = own(x);
        set("approximate", Arg::of_string("tanh"));
        end();
      }
      if (const OpInfo* op = find_op("embedding")) {
        begin(*op);
        set("weight", own(x));
        set("indices", own(tensor(DType::i64, {8, 32})));
        end();
      }
      if (const OpInfo* op = find_op("cross_entropy_loss")) {
        begin(*op);
        now_.args[0] = own(x);
        set("target", own(tensor(DType::i64, {rows})));
        end();
      }
    }
  }

  const std::function<void(PackCase&)>& f_;
  PackCase now_;
};

}  // namespace

void for_each_pack_case(const std::function<void(PackCase&)>& f) { Cases(f).run(); }

}  // namespace phlox
