#include "base/error.h"
#include "kernel/kernel.h"
#include "loop/math_tables.h"

namespace phlox {

namespace {
class Verify {
 public:
  explicit Verify(const Kernel& k) : k_(k), visible_(k.insts.size()), seen_(k.insts.size()) {}

  void run() {
    PHLOX_CHECK(!k_.blocks.empty(), "a kernel without a body");
    const int r = k_.register_lanes;
    PHLOX_CHECK(r >= 1 && (r & (r - 1)) == 0, "register_lanes must be a power of two");
    for (const KParam& p : k_.params)
      PHLOX_CHECK(p.word < k_.words.size() && (k_.words[p.word].kind == Word::Kind::pointer || k_.words[p.word].kind == Word::Kind::scratch), "a param's word");
    block(0, 0);
  }

 private:
  const KInst& operand(int n) const { return k_.insts[i_->operand[n]]; }
  void check(bool ok, const char* what) const { PHLOX_CHECK(ok, "%", at_, " ", kernel_op_info(i_->op).name, ": ", what); }
  void index(int n) const { check(operand(n).type == KType{DType::i64, 1}, "needs a scalar i64"); }
  void mask(int n) const { check(operand(n).type == KType{DType::boolean, i_->type.lanes}, "needs a bool of its lanes"); }

  void block(BlockId b, int depth) {
    PHLOX_CHECK(depth <= 64 && b < k_.blocks.size(), "block nesting");
    for (KValue v : k_.blocks[b].insts) {
      PHLOX_CHECK(v < k_.insts.size() && !seen_[v], "%", v, " is listed twice or does not exist");
      seen_[v] = 1;
      at_ = v;
      i_ = &k_.insts[v];
      inst();
      visible_[v] = 1;
      const KInst& i = k_.insts[v];
      if (i.body != no_block) block(i.body, depth + 1);
      if (i.other != no_block) block(i.other, depth + 1);
    }
    for (KValue v : k_.blocks[b].insts) visible_[v] = 0;
  }

  void inst() const {
    const KOpInfo& info = kernel_op_info(i_->op);
    check(i_->operand_count >= info.least && i_->operand_count <= info.most, "operand count");
    for (int n = 0; n < i_->operand_count; ++n) {
      check(i_->operand[n] < k_.insts.size() && visible_[i_->operand[n]], "an operand is not visible here");
      check(kernel_op_info(operand(n).op).has_result, "an operand has no value");
      if (i_->op != KOp::get && i_->op != KOp::set) check(operand(n).op != KOp::var, "a variable used without get");
    }
    check((i_->body != no_block) == opens_block(i_->op), "body");
    const int lanes = i_->type.lanes;
    check(lanes >= 1 && (lanes & (lanes - 1)) == 0, "lanes must be a power of two");
    if (accesses_memory(i_->op)) {
      check(i_->imm >= 0 && size_t(i_->imm) < k_.params.size(), "no such parameter");
      if (i_->op != KOp::prefetch && i_->op != KOp::address) check(k_.params[i_->imm].dtype == i_->type.dtype, "type of the parameter");
      if (kernel_op_info(i_->op).has_result == false && i_->op != KOp::prefetch)
        check(k_.params[i_->imm].written, "a store to a parameter that is only read");
    }
    operands();
  }

  void operands() const {
    const int lanes = i_->type.lanes;
    switch (i_->op) {
      case KOp::word: check(size_t(i_->imm) < k_.words.size(), "no such word"); break;
      case KOp::scalar: scalar(); break;
      case KOp::splat: check(operand(0).type == KType{i_->type.dtype, 1}, "needs a scalar of its type"); break;
      case KOp::extract: check(i_->imm >= 0 && i_->imm < operand(0).type.lanes && lanes == 1, "lane"); break;
      case KOp::interleave:
        check(operand(0).type == operand(1).type && operand(0).type == KType{i_->type.dtype, uint16_t(lanes / 2)} && !is_bool(i_->type.dtype),
              "needs two halves of its type");
        break;
      case KOp::every_other:
        check(operand(0).type == KType{i_->type.dtype, uint16_t(2 * lanes)} && !is_bool(i_->type.dtype) && (i_->imm == 0 || i_->imm == 1),
              "needs twice its lanes");
        break;
      case KOp::scale_exponent:
        check(i_->type.dtype == DType::f32 || i_->type.dtype == DType::f64, "needs f32 or f64");
        for (int n = 0; n < 3; ++n) value(n);
        break;
      case KOp::lookup:
        check(operand(0).type == KType{DType::i32, uint16_t(lanes)} && i_->type.dtype == DType::f32 && i_->imm >= 0 && i_->imm < math::table_count,
              "needs i32 and a table");
        break;
      case KOp::any: check(is_bool(operand(0).type.dtype) && lanes == 1, "needs a bool"); break;
      case KOp::power2: check(i_->type.dtype == DType::f32 && operand(0).type == i_->type, "needs f32"); break;
      case KOp::lane_fold: check(lanes == 1 && operand(0).type.dtype == i_->type.dtype, "types"); break;
      case KOp::load: index(0); break;
      case KOp::load_partial: case KOp::load_strided: index(0); index(1); break;
      case KOp::load_masked: index(0); mask(1); break;
      case KOp::load_gather:
        check(operand(0).type == KType{DType::i64, uint16_t(lanes)}, "address vector");
        if (i_->operand_count == 2) mask(1);
        break;
      case KOp::store:
        index(0);
        value(1);
        if (i_->operand_count == 3) index(2);
        break;
      case KOp::store_partial: case KOp::store_strided: index(0); value(1); index(2); break;
      case KOp::store_masked: index(0); value(1); mask(2); break;
      case KOp::store_scatter:
        check(operand(0).type == KType{DType::i64, uint16_t(lanes)}, "address vector");
        value(1);
        if (i_->operand_count == 3) mask(2);
        break;
      case KOp::local: check(i_->imm > 0 && lanes == 1, "size"); break;
      case KOp::local_load: case KOp::local_store:
        check(operand(0).op == KOp::local && operand(0).type.dtype == i_->type.dtype, "needs an array of its type");
        index(1);
        if (i_->op == KOp::local_store) value(2);
        if (i_->op == KOp::local_load && i_->operand_count == 3) {
          index(2);
          check(operand(0).space == Space::shared && k_.cluster > 1, "needs a shared array and a cluster");
        }
        break;
      case KOp::var: check(operand(0).type == i_->type, "initial value"); break;
      case KOp::get: check(operand(0).op == KOp::var && operand(0).type == i_->type, "needs a variable"); break;
      case KOp::set:
        check(operand(0).op == KOp::var && operand(0).type == operand(1).type, "needs a variable and its value");
        break;
      case KOp::address: index(0); check(i_->type == KType{DType::i64, 1}, "result"); break;
      case KOp::tile: tile(); break;
      case KOp::for_range: index(0); index(1); index(2); break;
      case KOp::if_true: check(operand(0).type == KType{DType::boolean, 1}, "condition"); break;
      case KOp::report:
        check(operand(0).type == KType{DType::boolean, 1}, "condition");
        index(1);
        check(size_t(i_->imm) < k_.words.size() && k_.words[i_->imm].kind == Word::Kind::status, "status word");
        break;
      default: break;
    }
  }
  void tile() const {
    check(i_->imm >= 0 && size_t(i_->imm) < k_.tiles.size(), "no such tile");
    const KTile& t = k_.tiles[size_t(i_->imm)];
    check(t.dtype == DType::f32 || t.dtype == DType::f64, "element type");
    check(t.lanes * dtype_bytes(t.dtype) >= 16 && t.lanes * dtype_bytes(t.dtype) <= 64 && (t.lanes & (t.lanes - 1)) == 0, "lanes");
    check(t.rows >= 1 && t.rows <= 32 && t.vectors >= 1 && t.vectors <= 16, "size");
    check(int(t.operands.size()) == tile_operands(t.kind), "operand count");
    for (KValue o : t.operands)
      check(o < k_.insts.size() && visible_[o] && k_.insts[o].op != KOp::var &&
                (k_.insts[o].type == KType{DType::i64, 1} || (t.kind == KTile::Kind::skinny && k_.insts[o].op == KOp::local)),
            "operands are scalar i64, and arrays of a GPU's leaf");
  }
  void value(int n) const { check(operand(n).type == i_->type, "value"); }

  void scalar() const {
    const ScalarInfo& info = scalar_info(i_->scalar);
    check(i_->scalar >= Scalar::cast && !is_math(i_->scalar) && i_->scalar != Scalar::checked_index &&
              i_->scalar != Scalar::philox, "not a scalar op of kernels");
    check(i_->operand_count == info.operands, "operand count of the scalar op");
    for (int n = 0; n < i_->operand_count; ++n) check(operand(n).type.lanes == i_->type.lanes, "lanes differ");
    const DType d = operand(i_->operand_count - 1).type.dtype;
    for (int n = i_->scalar == Scalar::select; n < i_->operand_count; ++n) check(operand(n).type.dtype == d, "types differ");
    if (info.result == ScalarResult::same || i_->scalar == Scalar::select) check(i_->type.dtype == d, "result type");
    if (info.result == ScalarResult::test) check(is_bool(i_->type.dtype), "a test gives bool");
    if (i_->scalar == Scalar::select) check(is_bool(operand(0).type.dtype), "select needs a bool");
    if (i_->scalar == Scalar::bitcast) check(dtype_bytes(d) == dtype_bytes(i_->type.dtype), "bitcast between sizes");
    if (i_->scalar != Scalar::cast && i_->scalar != Scalar::bitcast && i_->scalar != Scalar::select)
      check(!is_reduced_float(d), "arithmetic on a 16-bit float");
  }

  const Kernel& k_;
  std::vector<char> visible_, seen_;
  const KInst* i_ = nullptr;
  KValue at_ = 0;
};
}  // namespace

void verify_kernel(const Kernel& k) { Verify(k).run(); }

}  // namespace phlox
