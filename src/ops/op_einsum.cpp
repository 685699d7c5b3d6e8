// einsum: sums of products named by letters, contracted from left to right.
#include <algorithm>

#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

namespace {

// A letter, or a dim of the ellipsis counted from its end: 256 is the last one.
using Label = int;
struct Term {
  Val v;
  std::vector<Label> labels;
};

bool holds(const std::vector<Label>& l, Label x) { return std::find(l.begin(), l.end(), x) != l.end(); }

class Einsum {
 public:
  explicit Einsum(const Args& a) : a_(a) {}

  Val run() {
    const std::vector<Val> operands = a_.vals(1);
    require(a_, !operands.empty(), "at least one operand is needed");
    std::string text;
    for (char c : a_.s(0)) if (c != ' ') text += c;
    const size_t arrow = text.find("->");
    const std::string inputs = text.substr(0, arrow);
    std::vector<std::string> parts{""};
    for (char c : inputs) {
      if (c == ',') parts.emplace_back();
      else parts.back() += c;
    }
    if (parts.size() != operands.size())
      a_.error("the equation names another number of operands", cat(operands.size(), " operands for '", a_.s(0), "'"), cat(parts.size()));
    std::vector<Term> terms;
    for (size_t i = 0; i < parts.size(); ++i) terms.push_back(operand(parts[i], operands[i]));
    const std::vector<Label> out = arrow == text.npos ? implied(terms) : output(text.substr(arrow + 2), terms);
    Term r = terms[0];
    for (size_t i = 1; i <= terms.size(); ++i) {
      std::vector<Label> later = out;
      for (size_t k = i + 1; k < terms.size(); ++k) later.insert(later.end(), terms[k].labels.begin(), terms[k].labels.end());
      if (i < terms.size()) r = product(r, terms[i], later);
      else r = drop(r, out);
    }
    return arrange(r, out);
  }

 private:
  [[noreturn]] void bad(const std::string& what) { a_.error(what, cat("'", a_.s(0), "'"), "letters, '...' and one '->'"); }

  // The labels of one operand's dims; repeated letters take the diagonal.
  Term operand(const std::string& part, Val v) {
    std::vector<Label> labels;
    size_t letters = 0;
    for (char c : part) letters += std::isalpha(uint8_t(c)) ? 1 : 0;
    bool dots = false;
    for (size_t i = 0; i < part.size(); ++i) {
      if (part[i] == '.') {
        if (dots || part.compare(i, 3, "...") != 0) bad("an ellipsis is written wrongly");
        dots = true;
        i += 2;
        for (int d = v.rank() - int(letters); d-- > 0;) labels.push_back(256 + d);
      } else if (std::isalpha(uint8_t(part[i]))) {
        labels.push_back(part[i]);
      } else {
        bad("the equation has an unknown character");
      }
    }
    if (int(labels.size()) != v.rank()) a_.error("an operand's letters do not fit its rank", cat("'", part, "' for ", shape_of(v)));
    Term t{v, labels};
    for (size_t i = 0; i < t.labels.size(); ++i)
      for (size_t j = t.labels.size(); j-- > i + 1;)
        if (t.labels[j] == t.labels[i]) {
          if (!dim_eq(t.v.shape()[i], t.v.shape()[j])) a_.error("a repeated letter has two sizes", shape_of(v));
          t.v = diagonal(t.v, int(i), int(j), 0);  // runs in the last dim
          const Label l = t.labels[i];
          t.labels.erase(t.labels.begin() + long(j));
          t.labels.erase(t.labels.begin() + long(i));
          t.labels.push_back(l);
          return again(t);
        }
    return t;
  }
  // Diagonals move dims: look for further repeats from the start.
  Term again(Term t) {
    for (size_t i = 0; i < t.labels.size(); ++i)
      for (size_t j = i + 1; j < t.labels.size(); ++j)
        if (t.labels[i] == t.labels[j]) {
          t.v = diagonal(t.v, int(i), int(j), 0);
          const Label l = t.labels[i];
          t.labels.erase(t.labels.begin() + long(j));
          t.labels.erase(t.labels.begin() + long(i));
          t.labels.push_back(l);
          return again(t);
        }
    return t;
  }

  // Without an arrow: the ellipsis, then all letters that occur once, in alphabetical order.
  std::vector<Label> implied(const std::vector<Term>& terms) {
    std::vector<Label> out;
    int most = 0;
    std::vector<int> count(256, 0);
    std::string text(a_.s(0));
    for (char c : text) if (std::isalpha(uint8_t(c))) ++count[uint8_t(c)];
    for (const Term& t : terms) for (Label l : t.labels) most = std::max(most, l - 255);
    for (int d = most; d-- > 0;) out.push_back(256 + d);
    for (int c = 0; c < 256; ++c) if (count[size_t(c)] == 1) out.push_back(c);
    return out;
  }
  std::vector<Label> output(const std::string& part, const std::vector<Term>& terms) {
    std::vector<Label> out;
    int most = 0;
    for (const Term& t : terms) for (Label l : t.labels) most = std::max(most, l - 255);
    for (size_t i = 0; i < part.size(); ++i) {
      if (part[i] == '.') {
        if (part.compare(i, 3, "...") != 0) bad("an ellipsis is written wrongly");
        i += 2;
        for (int d = most; d-- > 0;) out.push_back(256 + d);
        continue;
      }
      bool known = false;
      for (const Term& t : terms) known = known || holds(t.labels, part[i]);
      if (!known || holds(out, part[i])) bad(cat("'", part.substr(i, 1), "' is not a letter of the operands, or stands twice in the result"));
      out.push_back(part[i]);
    }
    return out;
  }

  // Sums over the labels that nothing else needs.
  Term drop(Term t, const std::vector<Label>& needed) {
    Ints gone;
    std::vector<Label> left;
    for (size_t d = 0; d < t.labels.size(); ++d) {
      if (holds(needed, t.labels[d])) left.push_back(t.labels[d]);
      else gone.push_back(int64_t(d));
    }
    if (gone.empty()) return t;
    // Sums of integers are i64, as in ATen.
    if (is_int(t.v.dtype()) || is_bool(t.v.dtype())) return {sum(cast(t.v, DType::i64), gone), left};
    return {cast_like(sum(widen(t.v), gone), t.v), left};
  }

  Term product(Term x, Term y, const std::vector<Label>& later) {
    std::vector<Label> for_x = later, for_y = later;
    for_x.insert(for_x.end(), y.labels.begin(), y.labels.end());
    for_y.insert(for_y.end(), x.labels.begin(), x.labels.end());
    x = drop(x, for_x);
    y = drop(y, for_y);
    // A size of 1 meets any size: such a dim goes from the smaller side.
    for (size_t i = 0; i < x.labels.size();) {
      const auto at = std::find(y.labels.begin(), y.labels.end(), x.labels[i]);
      if (at == y.labels.end()) { ++i; continue; }
      const size_t j = size_t(at - y.labels.begin());
      const Dim n = x.v.shape()[i], m = y.v.shape()[j];
      if (n.is(1) && !m.is(1)) {
        x.v = squeeze(x.v, int(i));
        x.labels.erase(x.labels.begin() + long(i));
        continue;
      }
      if (m.is(1) && !n.is(1)) {
        y.v = squeeze(y.v, int(j));
        y.labels.erase(at);
      } else if (!dim_eq(n, m)) {
        a_.error("a letter has two sizes", cat(n, " and ", m));
      }
      ++i;
    }
    x = drop(x, for_x);
    Ints bx, by, sx, sy;
    std::vector<Label> labels, fx, fy;
    for (size_t i = 0; i < x.labels.size(); ++i) {
      const auto at = std::find(y.labels.begin(), y.labels.end(), x.labels[i]);
      if (at == y.labels.end()) { fx.push_back(x.labels[i]); continue; }
      const bool kept = holds(later, x.labels[i]);
      (kept ? bx : sx).push_back(int64_t(i));
      (kept ? by : sy).push_back(at - y.labels.begin());
      if (kept) labels.push_back(x.labels[i]);
    }
    for (Label l : y.labels) if (!holds(x.labels, l)) fy.push_back(l);
    labels.insert(labels.end(), fx.begin(), fx.end());
    labels.insert(labels.end(), fy.begin(), fy.end());
    const Val v[] = {x.v, y.v};
    const DType d = result_dtype(v);
    return drop({contract(cast(x.v, d), cast(y.v, d), bx, by, sx, sy), labels}, later);
  }

  Val arrange(const Term& t, const std::vector<Label>& out) {
    Ints perm;
    for (Label l : out) perm.push_back(std::find(t.labels.begin(), t.labels.end(), l) - t.labels.begin());
    bool same = true;
    for (size_t i = 0; i < perm.size(); ++i) same = same && perm[i] == int64_t(i);
    return same ? t.v : permute(t.v, perm);
  }

  const Args& a_;
};

}  // namespace

static constexpr Op op_einsum{{
    .schema = "einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor",
    .doc = "Sums of products: letters name dimensions, those missing from the result are summed over.",
    .expand = [](const Args& a) -> Vals { return {Einsum(a).run()}; },
    .autocast = Autocast::lower,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("einsum", {"'ij,jk->ik', {[2,3], [3,4]}", "'bij,bjk', {[2,3,4], [2,4,2]}", "'ii->i', {[3,3]}", "'i,j->ij', {[3], [2]}", "'...ij->...ji', {[2,3,4]}"}).refuses("einsum", {"'ij,jk->ik', {[2,3], [4,4]}", "'ij', {[2]}", "'ij->ijk', {[2,3]}", "'i,j', {[2]}", "'i->', {}"});
}

static const Op* const einsum_ops[] = {&op_einsum};
OpFamily einsum_family() { return einsum_ops; }

}  // namespace phlox
