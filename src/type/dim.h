// Dim: the size of a dimension, or any number made from sizes: an int64 or an expression over symbols.
//
// A Dim is 8 bytes and crosses the ABI as an int64: values in the lowest quarter of the range are tags that name an
// interned expression, all others are themselves. Expressions are kept as sums of products with integer coefficients
// over atoms (symbols, floordiv, mod, min, max), so structural equality decides what sums and products can decide.
// 0 and 1 are not special. What the algebra cannot decide is answered from the current DimEnv's example sizes and
// recorded there as a guard; without an environment it is an error, never a guess.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/small_vector.h"

namespace phlox {

class Dim {
 public:
  constexpr Dim() = default;
  constexpr Dim(int64_t v) : raw_(v) {}
  static Dim symbol(int id);

  constexpr bool is_const() const { return raw_ >= tag_limit; }
  constexpr int64_t value() const { return raw_; }  // is_const() only
  constexpr int64_t raw() const { return raw_; }
  static constexpr Dim from_raw(int64_t r) { Dim d; d.raw_ = r; return d; }
  bool is(int64_t v) const { return raw_ == v; }
  int symbol_id() const;  // -1 when it is not a bare symbol

  // Structural identity: equal means equal for all sizes; unequal decides nothing.
  friend constexpr bool operator==(Dim a, Dim b) = default;

  static constexpr int64_t tag_limit = INT64_MIN / 2;

 private:
  int64_t raw_ = 0;
};

Dim operator+(Dim a, Dim b);
Dim operator-(Dim a, Dim b);
Dim operator*(Dim a, Dim b);
Dim floordiv(Dim a, Dim b);  // rounds towards minus infinity; b != 0
Dim mod(Dim a, Dim b);       // a - b * floordiv(a, b)
Dim ceildiv(Dim a, Dim b);
Dim min(Dim a, Dim b);
Dim max(Dim a, Dim b);
bool known_nonnegative(Dim d);  // for all sizes (symbols of at least 0), as far as the expression shows
void append(std::string& s, Dim d);     // "s0*4 + 1"
Dim parse_dim(const char*& p);          // reads what append writes; advances p; throws Error(invalid_argument)

using Dims = SmallVector<Dim, 6>;
using Ints = SmallVector<int64_t, 6>;

int64_t evaluate(Dim d, std::span<const int64_t> symbols);
Dim substitute(Dim d, std::span<const Dim> symbols);
void collect_symbols(Dim d, std::vector<bool>& seen);  // seen[id] = true

// A question that was answered from example sizes; a program is valid only where the answer is the same.
struct DimGuard {
  enum class Kind : uint8_t { eq, lt } kind;  // a == b, a < b
  Dim a, b;
  bool holds;
};

// Example sizes of the symbols and the guards recorded so far. One is current per thread while a graph is built.
class DimEnv {
 public:
  explicit DimEnv(std::span<const int64_t> hints = {}, int keyed = 0) : keyed_(keyed) {
    hints_.append(hints.begin(), hints.end());
  }
  Dim new_symbol(int64_t hint);
  const Ints& hints() const { return hints_; }
  int keyed() const { return keyed_; }
  const std::vector<DimGuard>& guards() const { return guards_; }
  bool guards_hold(std::span<const int64_t> symbols) const;
  DimEnv at(std::span<const int64_t> hints) const;  // the same guards with other example sizes, for which they hold

 private:
  friend bool dim_eq(Dim, Dim);
  friend bool dim_lt(Dim, Dim);
  bool decide(DimGuard::Kind kind, Dim a, Dim b);
  bool follows(Dim a, Dim b) const;
  Ints hints_;
  std::vector<DimGuard> guards_;
  int keyed_;  // of the first `keyed_` symbols the key already tells which are equal or 1: no guard needed
};

class DimEnvScope {  // makes an environment current on this thread
 public:
  explicit DimEnvScope(DimEnv& env);
  ~DimEnvScope();

 private:
  DimEnv* previous_;
};
DimEnv* current_dim_env();

bool dim_eq(Dim a, Dim b);
bool dim_lt(Dim a, Dim b);
inline bool dim_le(Dim a, Dim b) { return !dim_lt(b, a); }
int64_t dim_hint(Dim d);                            // the example value; no guard
int64_t dim_int(Dim d, const char* op);             // fixes a symbolic size to its example value, with a guard

Dim product(std::span<const Dim> dims);

}  // namespace phlox
