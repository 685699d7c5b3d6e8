// The text form of kernels:
//   kernel items=4 cost=100 lanes=16 threads=1 shared=0 cluster=1
//   words pointer 0, dim s0*4 + 1, number 2, status
//   params f32 0 read, f32 1 written
//   {
//     %0 = item_begin i64
//     %1 = scalar.add f32x16 %a %b
//     %2 = for_range i64 %f %t %s unroll {
//     }
//   }
// Values are numbered in the order of the text. Operands come first, then words for attributes, then #imm.
#include <map>

#include "base/error.h"
#include "kernel/kernel.h"

namespace phlox {

static constexpr const char* word_kinds[] = {"pointer", "dim", "number", "status", "scratch"};
static constexpr const char* space_names[] = {"stack", "shared"};

namespace {
struct Print {
  const Kernel& k;
  std::string s;
  std::vector<uint32_t> number;
  uint32_t next = 0;

  void inst(KValue v, int depth) {
    const KInst& i = k.insts[v];
    number[v] = next++;
    s.append(size_t(depth) * 2, ' ');
    s += cat("%", number[v], " = ", kernel_op_info(i.op).name);
    if (i.op == KOp::scalar) s += cat(".", scalar_info(i.scalar).name);
    if (i.op == KOp::lane_fold) s += cat(".", combine_name(i.combine));
    if (i.op == KOp::tile) return tile(k.tiles[size_t(i.imm)]);
    s += cat(" ", i.type);
    for (int n = 0; n < i.operand_count; ++n) s += cat(" %", number[i.operand[n]]);
    if (i.op == KOp::local) s += cat(" ", space_names[int(i.space)]);
    if (i.hint == LoopHint::unroll) s += " unroll";
    if (i.imm) s += cat(" #", i.imm);
    if (i.body != no_block) {
      s += " {\n";
      block(i.body, depth + 1);
      s.append(size_t(depth) * 2, ' ');
      s += "}";
    }
    if (i.other != no_block) {
      s += " else {\n";
      block(i.other, depth + 1);
      s.append(size_t(depth) * 2, ' ');
      s += "}";
    }
    s += "\n";
  }
  // tile.multiply f32x16 14x2 #3 %1 ...
  void tile(const KTile& t) {
    s += cat(".", tile_name(t.kind), " ", KType{t.dtype, t.lanes}, " ", t.rows, "x", t.vectors, " #", t.flags);
    for (KValue o : t.operands) s += cat(" %", number[o]);
    s += "\n";
  }
  void block(BlockId b, int depth) {
    for (KValue v : k.blocks[b].insts) inst(v, depth);
  }
};
}  // namespace

std::string print_kernel(const Kernel& k) {
  Print p{k, {}, std::vector<uint32_t>(k.insts.size(), 0)};
  p.s = cat("kernel items=", k.items, " cost=", k.item_cost, " lanes=", k.register_lanes, " threads=", k.threads,
            " shared=", k.shared_bytes, " cluster=", k.cluster);
  if (k.early) p.s += " early";
  if (!k.scratch_bytes.is(0)) p.s += cat(" scratch=", k.scratch_bytes);
  p.s += "\nwords";
  const char* separator = " ";
  for (const Word& w : k.words) {
    p.s += cat(separator, word_kinds[int(w.kind)]);
    if (w.kind == Word::Kind::dim) p.s += cat(" ", w.dim);
    if (w.kind == Word::Kind::pointer || w.kind == Word::Kind::number) p.s += cat(" ", w.param);
    separator = ", ";
  }
  p.s += "\nparams";
  separator = " ";
  for (const KParam& a : k.params) {
    p.s += cat(separator, a.dtype, " ", a.word, a.written ? " written" : " read");
    separator = ", ";
  }
  p.s += "\n{\n";
  p.block(0, 1);
  p.s += "}\n";
  return p.s;
}

namespace {
class Parse {
 public:
  explicit Parse(std::string_view text) : text_(text), p_(text_.c_str()) {}

  Kernel run() {
    expect("kernel");
    k_.items = dim_of("items");
    k_.item_cost = dim_of("cost");
    k_.register_lanes = uint16_t(number_of("lanes", 4096));
    k_.threads = uint32_t(number_of("threads", 4096));
    k_.shared_bytes = uint32_t(number_of("shared", 1 << 20));
    k_.cluster = uint32_t(number_of("cluster", 64));
    if (at("early")) {
      expect("early");
      k_.early = true;
    }
    if (at("scratch")) k_.scratch_bytes = dim_of("scratch");
    expect("words");
    if (!at("params")) do word(); while (accept(","));
    expect("params");
    if (!at("{")) do param(); while (accept(","));
    block(0);
    space();
    if (*p_) error("text after the kernel");
    return std::move(k_);
  }

 private:
  [[noreturn]] void error(std::string_view what) {
    int line = 1;
    for (const char* q = text_.c_str(); q < p_; ++q) line += *q == '\n';
    fail(ErrorCode::invalid_argument, {.op = "parse_kernel", .fact = std::string(what), .got = cat("line ", line)});
  }
  void space() { while (*p_ == ' ' || *p_ == '\n') ++p_; }
  bool more_on_line(char c) {
    while (*p_ == ' ') ++p_;
    return *p_ == c;
  }
  bool at(std::string_view t) {
    space();
    return std::string_view(p_).substr(0, t.size()) == t;
  }
  bool accept(std::string_view t) {
    if (!at(t)) return false;
    p_ += t.size();
    return true;
  }
  void expect(std::string_view t) { if (!accept(t)) error(cat("expected '", t, "'")); }
  int64_t integer() {
    space();
    const bool negative = *p_ == '-';
    if (negative) ++p_;
    if (*p_ < '0' || *p_ > '9') error("expected a number");
    uint64_t v = 0;
    for (; *p_ >= '0' && *p_ <= '9'; ++p_) {
      if (v > (UINT64_MAX - 9) / 10) error("a number is too large");
      v = v * 10 + uint64_t(*p_ - '0');
    }
    return int64_t(negative ? 0 - v : v);
  }
  int64_t number_of(std::string_view name, int64_t most) {
    expect(name);
    expect("=");
    return bounded(most);
  }
  int64_t bounded(int64_t most) {
    const int64_t v = integer();
    if (v < 0 || v > most) error("a number is out of range");
    return v;
  }
  Dim dim() { space(); return parse_dim(p_); }
  Dim dim_of(std::string_view name) { expect(name); expect("="); return dim(); }
  std::string_view name() {
    space();
    const char* b = p_;
    while ((*p_ >= 'a' && *p_ <= 'z') || (*p_ >= '0' && *p_ <= '9') || *p_ == '_') ++p_;
    if (p_ == b) error("expected a name");
    return {b, size_t(p_ - b)};
  }
  KType type() {
    std::string_view n = name();
    KType t;
    const size_t x = n.find('x');
    if (x != n.npos) {
      int lanes = 0;
      for (char c : n.substr(x + 1)) lanes = c >= '0' && c <= '9' && lanes < 4096 ? lanes * 10 + (c - '0') : 1 << 20;
      if (lanes < 1 || lanes > 4096) error("a bad number of lanes");
      t.lanes = uint16_t(lanes);
      n = n.substr(0, x);
    }
    const auto d = parse_dtype(n);
    if (!d) error("unknown type");
    t.dtype = *d;
    return t;
  }
  void word() {
    Word w{};
    const std::string_view n = name();
    for (int i = 0;; ++i) {
      if (i == 5) error("unknown kind of word");
      if (n == word_kinds[i]) { w.kind = Word::Kind(i); break; }
    }
    if (w.kind == Word::Kind::dim) w.dim = dim();
    if (w.kind == Word::Kind::pointer || w.kind == Word::Kind::number) w.param = uint32_t(bounded(1 << 20));
    k_.words.push_back(w);
  }
  void param() {
    KParam a{};
    a.dtype = type().dtype;
    a.word = uint32_t(bounded(1 << 20));
    a.written = accept("written");
    if (!a.written) expect("read");
    k_.params.push_back(a);
  }
  BlockId block(int depth) {
    if (depth > 64) error("blocks nest deeper than 64");
    const BlockId b = BlockId(k_.blocks.size());
    k_.blocks.emplace_back();
    expect("{");
    while (!accept("}")) inst(b, depth);
    return b;
  }
  void inst(BlockId b, int depth) {
    expect("%");
    const KValue v = KValue(k_.insts.size());
    if (bounded(1 << 24) != v) error("values must be numbered in order");
    expect("=");
    KInst i{};
    i.op = op();
    if (i.op == KOp::scalar) { expect("."); i.scalar = scalar(); }
    if (i.op == KOp::lane_fold) { expect("."); i.combine = combine(); }
    if (i.op == KOp::tile) return tile(i, b);
    i.type = type();
    while (more_on_line('%')) {
      expect("%");
      if (i.operand_count == 3) error("more than three operands");
      i.operand[i.operand_count++] = KValue(bounded(int64_t(v) - 1));
    }
    if (i.op == KOp::local) i.space = accept("shared") ? Space::shared : (expect("stack"), Space::stack);
    if (accept("unroll")) i.hint = LoopHint::unroll;
    if (more_on_line('#') && accept("#")) i.imm = integer();
    k_.insts.push_back(i);
    k_.blocks[b].insts.push_back(v);
    if (opens_block(i.op)) {
      const BlockId body = block(depth + 1);
      k_.insts[v].body = body;
      if (i.op == KOp::if_true && accept("else")) {
        const BlockId other = block(depth + 1);
        k_.insts[v].other = other;
      }
    }
  }
  void tile(KInst i, BlockId b) {
    KTile t{};
    expect(".");
    const std::string_view n = name();
    for (int kind = 0;; ++kind) {
      if (kind > int(KTile::Kind::skinny)) error("unknown tile");
      if (n == tile_name(KTile::Kind(kind))) { t.kind = KTile::Kind(kind); break; }
    }
    const KType type_of = type();
    t.dtype = type_of.dtype;
    t.lanes = type_of.lanes;
    t.rows = uint8_t(bounded(255));
    expect("x");
    t.vectors = uint8_t(bounded(255));
    expect("#");
    t.flags = uint8_t(bounded(255));
    while (more_on_line('%')) {
      expect("%");
      if (t.operands.size() == 13) error("more than 13 operands");
      t.operands.push_back(KValue(bounded(int64_t(k_.insts.size()) - 1)));
    }
    i.imm = int64_t(k_.tiles.size());
    k_.tiles.push_back(t);
    k_.blocks[b].insts.push_back(KValue(k_.insts.size()));
    k_.insts.push_back(i);
  }
  KOp op() {
    const std::string_view n = name();
    for (int i = 0; i < kernel_op_count; ++i)
      if (n == kernel_op_info(KOp(i)).name) return KOp(i);
    error("unknown instruction");
  }
  Scalar scalar() {
    const std::string_view n = name();
    for (int i = 0; i < scalar_op_count; ++i)
      if (n == scalar_info(Scalar(i)).name) return Scalar(i);
    error("unknown scalar op");
  }
  Combine combine() {
    const std::string_view n = name();
    for (int i = 0; i <= int(Combine::bor); ++i)
      if (n == combine_name(Combine(i))) return Combine(i);
    error("unknown combination");
  }

  std::string text_;
  const char* p_;
  Kernel k_;
};
}  // namespace

Kernel parse_kernel(std::string_view text) { return Parse(text).run(); }

}  // namespace phlox
