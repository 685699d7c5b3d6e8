#include "type/dim.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/root.h"

namespace phlox {

// Numbers that sizes are divided by come from users.
[[noreturn]] static void division_by_zero() {
  fail(ErrorCode::invalid_argument, {.op = "sizes", .fact = "a size is divided by zero", .got = "0", .expected = "a number above 0",
                                     .remedy = "give sizes, strides and steps above 0"});
}

namespace {

enum class AtomKind : uint8_t { symbol, floordiv, mod, min, max };

// An atom is a symbol or an operation that sums and products cannot express.
struct Atom {
  AtomKind kind;
  int64_t a = 0, b = 0;  // symbol id, or raw Dims
  friend bool operator==(const Atom&, const Atom&) = default;
};

using Monomial = std::vector<uint32_t>;  // sorted atom ids; empty: the constant term

struct Sum {
  std::vector<std::pair<Monomial, int64_t>> terms;  // sorted by monomial, no zero coefficients
  friend bool operator==(const Sum&, const Sum&) = default;
};

uint64_t hash_of(const Atom& a) { return combine(combine(uint64_t(a.kind), uint64_t(a.a)), uint64_t(a.b)); }
uint64_t hash_of(const Sum& s) {
  uint64_t h = s.terms.size();
  for (auto& [m, c] : s.terms) {
    h = combine(h, uint64_t(c));
    for (uint32_t id : m) h = combine(h, id);
  }
  return h;
}

// Interned atoms and sums. Chunked so that readers never see an element move; entries are immutable once published.
struct Table {
  std::mutex mutex;
  static constexpr int chunk_bits = 12, max_chunks = 4096;
  Sum* sums[max_chunks] = {};
  Atom* atoms[max_chunks] = {};
  uint32_t sum_count = 0, atom_count = 0;
  std::unordered_multimap<uint64_t, uint32_t> sum_index, atom_index;

  const Sum& sum(uint32_t id) const { return sums[id >> chunk_bits][id & ((1 << chunk_bits) - 1)]; }
  const Atom& atom(uint32_t id) const { return atoms[id >> chunk_bits][id & ((1 << chunk_bits) - 1)]; }

  template <class T>
  uint32_t intern(T* (&chunks)[max_chunks], uint32_t& count, std::unordered_multimap<uint64_t, uint32_t>& index,
                  const T& v) {
    std::lock_guard lock(mutex);
    const uint64_t h = hash_of(v);
    for (auto [it, end] = index.equal_range(h); it != end; ++it)
      if (chunks[it->second >> chunk_bits][it->second & ((1 << chunk_bits) - 1)] == v) return it->second;
    const uint32_t id = count;
    PHLOX_CHECK((id >> chunk_bits) < max_chunks, "too many size expressions");
    T*& chunk = chunks[id >> chunk_bits];
    if (!chunk) chunk = new T[size_t(1) << chunk_bits]();
    chunk[id & ((1 << chunk_bits) - 1)] = v;
    ++count;
    index.emplace(h, id);
    return id;
  }
  uint32_t intern(const Sum& s) { return intern(sums, sum_count, sum_index, s); }
  uint32_t intern(const Atom& a) { return intern(atoms, atom_count, atom_index, a); }
};
Table& table() { return root_object<Table>(); }

uint32_t sum_id(Dim d) { return uint32_t(d.raw() - INT64_MIN); }

Sum sum_of(Dim d) {
  if (!d.is_const()) return table().sum(sum_id(d));
  Sum s;
  if (d.value() != 0) s.terms.push_back({{}, d.value()});
  return s;
}

// A result of constants. The lowest quarter of the range is taken by tags, so it overflows there.
Dim constant(int64_t v) {
  if (v < Dim::tag_limit) size_overflow("size", v, 0);
  return v;
}

Dim dim_of(const Sum& s) {
  if (s.terms.empty()) return 0;
  if (s.terms.size() == 1 && s.terms[0].first.empty()) return constant(s.terms[0].second);
  return Dim::from_raw(INT64_MIN + table().intern(s));
}

Dim atom_dim(AtomKind kind, int64_t a, int64_t b) {
  Sum s;
  s.terms.push_back({{table().intern(Atom{kind, a, b})}, 1});
  return dim_of(s);
}

void add_term(Sum& s, const Monomial& m, int64_t c) {
  auto it = std::lower_bound(s.terms.begin(), s.terms.end(), m, [](auto& t, const Monomial& k) { return t.first < k; });
  if (it != s.terms.end() && it->first == m) {
    c = checked_add(it->second, c);
    if (c == 0) s.terms.erase(it);
    else it->second = c;
  } else if (c != 0) {
    s.terms.insert(it, {m, c});
  }
  if (c == INT64_MIN) size_overflow("size", c, 0);  // has no negative, so it could not be printed and read
}

[[noreturn]] void too_large() {
  fail(ErrorCode::invalid_argument, {.op = "size", .fact = "a size expression with too many terms"});
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

// a = q * b + r with every term of q * b divisible by the product or constant b, symbolically.
bool split_divisible(const Sum& a, const Sum& b, Sum& quotient, Sum& rest) {
  if (b.terms.size() != 1) return false;
  const auto& [bm, bc] = b.terms[0];
  for (auto& [m, c] : a.terms) {
    if ((bc == -1 ? c != INT64_MIN : c % bc == 0) && std::includes(m.begin(), m.end(), bm.begin(), bm.end())) {
      Monomial q;
      std::set_difference(m.begin(), m.end(), bm.begin(), bm.end(), std::back_inserter(q));
      add_term(quotient, q, c / bc);
    } else {
      add_term(rest, m, c);
    }
  }
  return true;
}

}  // namespace

Dim Dim::symbol(int id) { return atom_dim(AtomKind::symbol, id, 0); }

int Dim::symbol_id() const {
  if (is_const()) return -1;
  const Sum& s = table().sum(sum_id(*this));
  if (s.terms.size() != 1 || s.terms[0].second != 1 || s.terms[0].first.size() != 1) return -1;
  const Atom& a = table().atom(s.terms[0].first[0]);
  return a.kind == AtomKind::symbol ? int(a.a) : -1;
}

Dim operator+(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return constant(checked_add(a.value(), b.value()));
  if (a.is(0)) return b;
  if (b.is(0)) return a;
  Sum s = sum_of(a);
  for (auto& [m, c] : sum_of(b).terms) add_term(s, m, c);
  return dim_of(s);
}

Dim operator-(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return constant(checked_add(a.value(), -b.value()));
  return a + b * Dim(-1);
}

Dim operator*(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return constant(checked_mul(a.value(), b.value()));
  if (a.is(1)) return b;
  if (b.is(1)) return a;
  Sum r;
  const Sum sa = sum_of(a), sb = sum_of(b);
  // Products of sums grow exponentially; no shape comes near this, but a text that nobody trusts may.
  if (sa.terms.size() * sb.terms.size() > 256) too_large();
  for (auto& [ma, ca] : sa.terms)
    for (auto& [mb, cb] : sb.terms) {
      Monomial m;
      std::merge(ma.begin(), ma.end(), mb.begin(), mb.end(), std::back_inserter(m));
      if (m.size() > 32) too_large();
      add_term(r, m, checked_mul(ca, cb));
    }
  return dim_of(r);
}

Dim floordiv(Dim a, Dim b) {
  if (b.is(0)) division_by_zero();
  if (a.is_const() && b.is_const()) return floor_div(a.value(), b.value());
  if (b.is(1)) return a;
  if (a == b) return 1;
  if (a.is(0)) return 0;
  Sum q, r;
  if (split_divisible(sum_of(a), sum_of(b), q, r) && !q.terms.empty())
    return dim_of(q) + (r.terms.empty() ? Dim(0) : floordiv(dim_of(r), b));
  return atom_dim(AtomKind::floordiv, a.raw(), b.raw());
}

Dim mod(Dim a, Dim b) {
  if (b.is(0)) division_by_zero();
  if (a.is_const() && b.is_const()) return a.value() - b.value() * floor_div(a.value(), b.value());
  if (b.is(1) || a == b || a.is(0)) return 0;
  Sum q, r;
  if (split_divisible(sum_of(a), sum_of(b), q, r) && !q.terms.empty())
    return r.terms.empty() ? Dim(0) : mod(dim_of(r), b);
  return atom_dim(AtomKind::mod, a.raw(), b.raw());
}

Dim ceildiv(Dim a, Dim b) { return floordiv(a + b - 1, b); }

Dim min(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return std::min(a.value(), b.value());
  if (const Dim d = a - b; d.is_const()) return d.value() < 0 ? a : b;
  return atom_dim(AtomKind::min, std::min(a.raw(), b.raw()), std::max(a.raw(), b.raw()));
}

Dim max(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return std::max(a.value(), b.value());
  if (const Dim d = a - b; d.is_const()) return d.value() > 0 ? a : b;
  return atom_dim(AtomKind::max, std::min(a.raw(), b.raw()), std::max(a.raw(), b.raw()));
}

bool known_nonnegative(Dim d) {
  if (d.is_const()) return d.value() >= 0;
  auto atom = [](const Atom& a) {
    const Dim x = Dim::from_raw(a.a), y = Dim::from_raw(a.b);
    switch (a.kind) {
      case AtomKind::symbol: return true;
      case AtomKind::floordiv: case AtomKind::min: return known_nonnegative(x) && known_nonnegative(y);
      case AtomKind::mod: return known_nonnegative(y);
      case AtomKind::max: return known_nonnegative(x) || known_nonnegative(y);
    }
    return false;
  };
  for (auto& [m, c] : table().sum(sum_id(d)).terms) {
    if (c < 0) return false;
    for (uint32_t id : m) if (!atom(table().atom(id))) return false;
  }
  return true;
}

// --- text

// The order of terms inside an expression follows the history of the process; its text must not, because texts name
// kernels on disk. So text sorts: symbols by number, then calls by their own text. The constant comes last.

namespace {
struct AtomText {
  int64_t symbol;  // or INT64_MAX
  std::string text;
  friend auto operator<=>(const AtomText&, const AtomText&) = default;
};
struct TermText {
  std::vector<AtomText> factors;
  int64_t coefficient;
};

AtomText atom_text(const Atom& a) {
  static const char* const names[] = {"s", "floordiv", "mod", "min", "max"};
  if (a.kind == AtomKind::symbol) return {a.a, cat("s", a.a)};
  std::string x = cat(Dim::from_raw(a.a)), y = cat(Dim::from_raw(a.b));
  if ((a.kind == AtomKind::min || a.kind == AtomKind::max) && y < x) std::swap(x, y);
  return {INT64_MAX, cat(names[int(a.kind)], "(", x, ", ", y, ")")};
}

std::vector<TermText> sorted_terms(const Sum& sum) {
  std::vector<TermText> terms;
  for (auto& [m, c] : sum.terms) {
    TermText t{{}, c};
    for (uint32_t id : m) t.factors.push_back(atom_text(table().atom(id)));
    std::sort(t.factors.begin(), t.factors.end());
    terms.push_back(std::move(t));
  }
  // The constant term, which has no factors, comes last.
  std::sort(terms.begin(), terms.end(), [](const TermText& a, const TermText& b) {
    if (a.factors.empty() != b.factors.empty()) return b.factors.empty();
    return a.factors < b.factors;
  });
  return terms;
}
}  // namespace

void append(std::string& s, Dim d) {
  if (d.is_const()) { append_int(s, d.value()); return; }
  bool first = true;
  for (const TermText& t : sorted_terms(sum_of(d))) {
    int64_t k = t.coefficient;
    if (!first) { s += k < 0 ? " - " : " + "; k = k < 0 ? -k : k; }
    first = false;
    if (t.factors.empty() || k != 1) append_int(s, k);
    for (size_t i = 0; i < t.factors.size(); ++i) {
      if (i || k != 1) s += "*";
      s += t.factors[i].text;
    }
  }
}

namespace {
struct DimParser {
  const char*& p;
  int depth = 0;  // of nested calls: text must not choose how deep our stack gets
  void space() { while (*p == ' ') ++p; }
  [[noreturn]] void bad(const char* expected) {
    fail(ErrorCode::invalid_argument, {.op = "parse", .fact = "bad size expression",
                                       .got = std::string(p).substr(0, 16), .expected = expected});
  }
  int64_t number() {
    if (*p < '0' || *p > '9') bad("a digit");
    int64_t v = 0;
    while (*p >= '0' && *p <= '9') v = checked_add(checked_mul(v, 10), *p++ - '0');
    return v;
  }
  bool word(const char* w) {
    const char* q = p;
    while (*w && *q == *w) ++q, ++w;
    if (*w || *q != '(') return false;
    p = q + 1;
    return true;
  }
  Dim call(Dim (*f)(Dim, Dim)) {
    if (++depth > 64) bad("less nesting");
    const Dim a = sum();
    space();
    if (*p != ',') bad(",");
    ++p;
    const Dim b = sum();
    space();
    if (*p != ')') bad(")");
    ++p;
    --depth;
    if (b.is(0) && (f == static_cast<Dim (*)(Dim, Dim)>(floordiv) || f == static_cast<Dim (*)(Dim, Dim)>(mod))) bad("a divisor that is not zero");
    return f(a, b);
  }
  Dim factor() {
    bool minus = false;
    for (space(); *p == '-'; space()) { ++p; minus = !minus; }
    return minus ? atom() * Dim(-1) : atom();
  }
  Dim atom() {
    if (word("floordiv")) return call(floordiv);
    if (word("mod")) return call(mod);
    if (word("min")) return call(min);
    if (word("max")) return call(max);
    if (*p == 's') { ++p; const int64_t id = number(); if (id > 4095) bad("a symbol below s4096"); return Dim::symbol(int(id)); }
    return number();
  }
  Dim term() {
    Dim d = factor();
    for (space(); *p == '*'; space()) { ++p; d = d * factor(); }
    return d;
  }
  Dim sum() {
    Dim d = term();
    for (space(); *p == '+' || *p == '-'; space()) {
      const bool minus = *p++ == '-';
      const Dim t = term();
      d = minus ? d - t : d + t;
    }
    return d;
  }
};
}  // namespace

Dim parse_dim(const char*& p) { return DimParser{p}.sum(); }

// --- evaluation

// Numbers through the same rules as expressions: overflow is an error, division by zero a broken invariant.
struct CheckedInt {
  int64_t v;
  friend CheckedInt operator*(CheckedInt a, CheckedInt b) { return {checked_mul(a.v, b.v)}; }
  friend CheckedInt operator+(CheckedInt a, CheckedInt b) { return {checked_add(a.v, b.v)}; }
};
static CheckedInt floordiv(CheckedInt a, CheckedInt b) {
  if (b.v == 0) division_by_zero();
  if (b.v == -1) return a * CheckedInt{-1};
  return {floor_div(a.v, b.v)};
}
static CheckedInt mod(CheckedInt a, CheckedInt b) {
  if (b.v == 0) division_by_zero();
  return {b.v == -1 ? 0 : a.v - b.v * floor_div(a.v, b.v)};
}
static CheckedInt min(CheckedInt a, CheckedInt b) { return {std::min(a.v, b.v)}; }
static CheckedInt max(CheckedInt a, CheckedInt b) { return {std::max(a.v, b.v)}; }

template <class T, class Leaf>
static T fold(Dim d, const Leaf& leaf) {
  if (d.is_const()) return T{d.value()};
  T total{0};
  for (auto& [m, c] : table().sum(sum_id(d)).terms) {
    T t{c};
    for (uint32_t id : m) {
      const Atom& a = table().atom(id);
      if (a.kind == AtomKind::symbol) { t = t * leaf(int(a.a)); continue; }
      const T x = fold<T>(Dim::from_raw(a.a), leaf), y = fold<T>(Dim::from_raw(a.b), leaf);
      t = t * (a.kind == AtomKind::floordiv ? floordiv(x, y) : a.kind == AtomKind::mod ? mod(x, y)
               : a.kind == AtomKind::min ? min(x, y) : max(x, y));
    }
    total = total + t;
  }
  return total;
}

int64_t evaluate(Dim d, std::span<const int64_t> symbols) {
  return fold<CheckedInt>(d, [&](int id) {
    PHLOX_CHECK(size_t(id) < symbols.size(), "symbol s", id, " has no value");
    return CheckedInt{symbols[id]};
  }).v;
}

Dim substitute(Dim d, std::span<const Dim> symbols) {
  return fold<Dim>(d, [&](int id) { return size_t(id) < symbols.size() ? symbols[id] : Dim::symbol(id); });
}

void collect_symbols(Dim d, std::vector<bool>& seen) {
  if (d.is_const()) return;
  for (auto& term : table().sum(sum_id(d)).terms)
    for (uint32_t id : term.first) {
      const Atom& a = table().atom(id);
      if (a.kind != AtomKind::symbol) {
        collect_symbols(Dim::from_raw(a.a), seen);
        collect_symbols(Dim::from_raw(a.b), seen);
        continue;
      }
      if (seen.size() <= size_t(a.a)) seen.resize(size_t(a.a) + 1);
      seen[size_t(a.a)] = true;
    }
}

// --- questions

static thread_local DimEnv* current_env = nullptr;
DimEnvScope::DimEnvScope(DimEnv& env) : previous_(current_env) { current_env = &env; }
DimEnvScope::~DimEnvScope() { current_env = previous_; }
DimEnv* current_dim_env() { return current_env; }

Dim DimEnv::new_symbol(int64_t hint) {
  hints_.push_back(hint);
  return Dim::symbol(int(hints_.size()) - 1);
}

bool DimEnv::guards_hold(std::span<const int64_t> symbols) const {
  for (const DimGuard& g : guards_) {
    const int64_t a = evaluate(g.a, symbols), b = evaluate(g.b, symbols);
    if ((g.kind == DimGuard::Kind::eq ? a == b : a < b) != g.holds) return false;
  }
  return true;
}

DimEnv DimEnv::at(std::span<const int64_t> hints) const {
  DimEnv r(hints, keyed_);
  r.guards_ = guards_;
  return r;
}

bool DimEnv::decide(DimGuard::Kind kind, Dim a, Dim b) {
  const int64_t x = evaluate(a, hints_), y = evaluate(b, hints_);
  const bool holds = kind == DimGuard::Kind::eq ? x == y : x < y;
  if (keyed_ && kind == DimGuard::Kind::eq && !holds) {
    auto keyed = [&](Dim d) { return d.is(1) || (d.symbol_id() >= 0 && d.symbol_id() < keyed_); };
    if (keyed(a) && keyed(b)) return false;
  }
  for (const DimGuard& g : guards_) {
    if (g.kind != kind) continue;
    if (g.a == a && g.b == b) return holds;
    if (kind == DimGuard::Kind::eq && g.a == b && g.b == a) return holds;
  }
  if (!follows(a, b)) guards_.push_back({kind, a, b, holds});
  return holds;
}

// Do the symbols whose value a guard fixes already decide how a compares to b?
bool DimEnv::follows(Dim a, Dim b) const {
  Dims fixed;
  bool any = false;
  for (size_t i = 0; i < hints_.size(); ++i) fixed.push_back(Dim::symbol(int(i)));
  for (const DimGuard& g : guards_) {
    if (g.kind != DimGuard::Kind::eq || !g.holds) continue;
    const int x = g.a.symbol_id(), y = g.b.symbol_id();
    if (x >= 0 && g.b.is_const()) { fixed[size_t(x)] = g.b; any = true; }
    if (y >= 0 && g.a.is_const()) { fixed[size_t(y)] = g.a; any = true; }
  }
  return any && (substitute(a, fixed) - substitute(b, fixed)).is_const();
}

bool dim_eq(Dim a, Dim b) {
  if (a == b) return true;
  if (const Dim d = a - b; d.is_const()) return d.is(0);
  PHLOX_CHECK(current_env, "sizes ", a, " and ", b, " compared outside of a graph");
  return current_env->decide(DimGuard::Kind::eq, a, b);
}

bool dim_lt(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return a.value() < b.value();  // their difference need not fit
  if (const Dim d = a - b; d.is_const()) return d.value() < 0;
  PHLOX_CHECK(current_env, "sizes ", a, " and ", b, " compared outside of a graph");
  return current_env->decide(DimGuard::Kind::lt, a, b);
}

int64_t dim_hint(Dim d) {
  if (d.is_const()) return d.value();
  PHLOX_CHECK(current_env, "size ", d, " read outside of a graph");
  return evaluate(d, current_env->hints());
}

int64_t dim_int(Dim d, const char* op) {
  const int64_t v = dim_hint(d);
  if (!d.is_const()) PHLOX_CHECK(dim_eq(d, v), op);
  return v;
}

Dim product(std::span<const Dim> dims) {
  Dim p = 1;
  for (Dim d : dims) p = p * d;
  return p;
}

}  // namespace phlox
