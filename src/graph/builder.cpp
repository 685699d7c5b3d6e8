#include "graph/builder.h"

namespace phlox {

const TensorType& Val::type() const { return g->graph().type(id); }

Dim Val::size(int d) const {
  const int k = d < 0 ? d + rank() : d;
  if (k < 0 || k >= rank())
    fail(ErrorCode::invalid_argument, {.op = "size", .fact = "a tensor has too few dimensions", .got = cat(type()),
                                       .expected = cat("at least ", d < 0 ? -d : d + 1, " dimensions")});
  return type().shape[size_t(k)];
}

Vals GraphBuilder::call(const OpInfo& op, std::span<const Arg> args) {
  SmallVector<Arg, 8> full;
  full.append(args.begin(), args.end());
  for (size_t i = args.size(); i < op.schema.params.size(); ++i) full.push_back(op.schema.params[i].default_value);
  const Args a(*this, op, full);
  const OpRecord& r = op.op->record;
  if (r.expand && !r.vjp && !r.native) return r.expand(a);
  PHLOX_CHECK(r.type, "op ", op.schema.full_name(), " needs a type rule");
  SmallVector<TensorType, 2> types;
  r.type(a, types);
  for (const TensorType& t : types)
    for (Dim d : t.shape)
      if (d.is_const() && d.value() < 0)
        fail(ErrorCode::invalid_argument, {.op = op.schema.name, .fact = "a size would be negative", .got = cat(t), .expected = "sizes of 0 or more"});
  const NodeId n = graph_.add_node(op, full, types);
  Vals vals;
  for (GraphValue v : graph_.node(n).results) vals.push_back({this, v});
  return vals;
}

void GraphBuilder::outputs(std::span<const Val> vals) {
  SmallVector<GraphValue, 4> ids;
  for (const Val& v : vals) ids.push_back(v.id);
  graph_.set_outputs(ids);
}

// --- Args

void Args::error(std::string fact, std::string got, std::string expected, std::string remedy) const {
  fail(ErrorCode::invalid_argument,
       {op_.schema.name, std::move(fact), std::move(got), std::move(expected), std::move(remedy)});
}

static TensorType number_type(const Arg& a) {
  TensorType t;
  t.weak = true;
  t.dtype = a.kind == ArgKind::complex ? DType::c128 : a.kind == ArgKind::real ? DType::f64 : a.kind == ArgKind::boolean ? DType::boolean : DType::i64;
  return t;
}

// ops/prims.cpp registers how a known number becomes a value; graph/ itself names no op.
static NumberRule number_rule = nullptr;
void set_number_rule(NumberRule rule) { number_rule = rule; }

Val Args::operator[](int i) const {
  const Arg& a = raw(i);
  if (a.kind == ArgKind::value) return g_.wrap(a.value);
  if (a.kind == ArgKind::dim || a.kind == ArgKind::real || a.kind == ArgKind::boolean || a.kind == ArgKind::complex)
    return number_rule(g_, number_type(a), a);
  error(cat("argument '", op_.schema.params[i].name, "' is missing"), "None", "a tensor");
}

std::vector<Val> Args::vals(int i) const {
  std::vector<Val> v;
  if (raw(i).kind == ArgKind::value) return {(*this)[i]};
  for (const Arg& a : raw(i).items()) v.push_back(a.is_none() ? Val{} : g_.wrap(a.value));
  return v;
}

bool Args::b(int i, bool absent) const { return has(i) ? raw(i).bits != 0 : absent; }

Dim Args::d(int i) const {
  const Arg& a = raw(i);
  if (a.kind == ArgKind::dim) return a.as_dim();
  if (a.kind == ArgKind::boolean) return int64_t(a.bits);
  error(cat("argument '", op_.schema.params[i].name, "' must be an int"), print_arg(a, ParamType::integer), "an int");
}

int64_t Args::i(int i) const { return dim_int(d(i), name()); }

double Args::f(int i) const {
  const Arg& a = raw(i);
  if (a.kind == ArgKind::real) return a.real;
  if (a.kind == ArgKind::value)
    fail(ErrorCode::invalid_argument, {.op = op_.schema.name,
                                       .fact = cat("argument '", op_.schema.params[i].name, "' must be a number here"),
                                       .got = "a tensor", .remedy = "pass tensor.item()"});
  if (a.kind == ArgKind::complex) error(cat("argument '", op_.schema.params[i].name, "' must be real"), "a complex number", "a real number");
  return double(this->i(i));
}

bool Args::is_static_number(int i) const { return raw(i).kind != ArgKind::value && raw(i).kind != ArgKind::complex; }

Dims Args::dims(int i) const {
  const Arg& a = raw(i);
  Dims r;
  if (a.kind == ArgKind::dim) r.push_back(a.as_dim());
  else for (const Arg& x : a.items()) {
    if (x.kind != ArgKind::dim) error(cat("argument '", op_.schema.params[i].name, "' must be a list of ints"),
                                      print_arg(x, ParamType::integer), "ints");
    r.push_back(x.as_dim());
  }
  const int fixed = op_.schema.params[i].fixed_size;
  if (fixed && r.size() == 1) r.resize(fixed, r[0]);
  return r;
}

Ints Args::ints(int i) const {
  Ints r;
  for (Dim d : dims(i)) r.push_back(dim_int(d, name()));
  return r;
}

std::optional<DType> Args::dtype(int i) const {
  if (!has(i)) return std::nullopt;
  return raw(i).as_dtype();
}

std::string_view Args::s(int i) const { return raw(i).as_string(); }

int wrap_dim(int64_t d, int rank, const char* op) {
  const int n = rank == 0 ? 1 : rank;
  if (d < -n || d >= n)
    fail(ErrorCode::out_of_range, {.op = op, .fact = "dimension out of range", .got = cat(d, " for a tensor of rank ", rank),
                                   .expected = cat(-n, " to ", n - 1)});
  return int(d < 0 ? d + n : d);
}

Val Args::random_state() const {
  PHLOX_CHECK(g_.random_state, op_.schema.name, " is random but no random state was given");
  return g_.random_state;
}

int Args::dim(int i, int rank) const { return wrap_dim(this->i(i), rank, name()); }

// --- Vjp

int Vjp::flat(int arg, int item) const {
  int at = 0;
  for (int i = 0; i < int(bound_args.size()); ++i) {
    const Arg& a = bound_args[i];
    if (a.kind == ArgKind::value) {
      if (i == arg) return at;
      ++at;
    } else if (a.kind == ArgKind::list) {
      for (uint32_t k = 0; k < a.count; ++k) {
        if (a.list[k].kind != ArgKind::value) continue;
        if (i == arg && int(k) == item) return at;
        ++at;
      }
    }
  }
  return -1;
}

bool Vjp::needs(int arg) const {
  const Arg& a = bound_args[arg];
  if (a.kind == ArgKind::value) return needed[flat(arg, 0)];
  if (a.kind != ArgKind::list) return false;
  for (uint32_t k = 0; k < a.count; ++k)
    if (const int f = flat(arg, int(k)); f >= 0 && needed[f]) return true;
  return false;
}

void Vjp::set(int arg, Val g) {
  if (const int f = flat(arg, 0); f >= 0 && needed[f]) result[f] = g;
}

void Vjp::set_item(int arg, int item, Val g) {
  if (const int f = flat(arg, item); f >= 0 && needed[f]) result[f] = g;
}

}  // namespace phlox
