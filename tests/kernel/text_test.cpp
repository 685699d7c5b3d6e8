#include <gtest/gtest.h>

#include "base/error.h"
#include "kernel/builder.h"
#include "kernel/math_ops.h"

using namespace phlox;

namespace {

Kernel sample() {
  KernelBuilder b;
  const uint32_t in = b.buffer(0, DType::f32, false), out = b.buffer(1, DType::f32, true);
  b.kernel().items = Dim(7);
  b.kernel().register_lanes = 16;
  const Kv n = b.dim(100), array = b.local(DType::f32, 64), sum = b.var(b.constant(DType::f32, 0, 32));
  const Kv at = b.begin_for(b.item_begin(), b.item_end(), b.index(32));
  b.begin_if(lt(at, n));
  b.prefetch(in, at + n);
  const Kv x = b.load_partial(in, at, n - at, 32);
  b.set(sum, b.get(sum) + expand_math(Scalar::exp, x) + expand_math(Scalar::normal_cdf, x));
  b.begin_else();
  b.report(lt(n, at), at);
  b.end();
  b.store(out, at, b.get(sum));
  b.end();
  b.local_store(array, b.index(0), b.lane_fold(Combine::add, b.get(sum)));
  b.store(out, b.index(0), b.local_load(array, b.index(0), 1));
  return b.finish();
}

TEST(KernelText, RoundTrip) {
  const Kernel k = sample();
  const std::string s = print_kernel(k);
  SCOPED_TRACE(s);
  const Kernel back = parse_kernel(s);
  verify_kernel(back);
  EXPECT_EQ(print_kernel(back), s);
}

TEST(KernelText, RefusesNonsense) {
  for (const char* text : {"", "kernel", "kernel items=1 cost=1 lanes=1 threads=1 shared=0 cluster=1\nwords\nparams\n{ %1 = word i64 }",
                           "kernel items=1 cost=1 lanes=1 threads=1 shared=0 cluster=1\nwords\nparams\n{ %0 = nonsense i64 }",
                           "kernel items=1 cost=1 lanes=1 threads=1 shared=0 cluster=1\nwords\nparams\n{ %0 = load f32x99999 }"})
    EXPECT_THROW(parse_kernel(text), Error) << text;
  // Every prefix of a good text is refused or parses; nothing else happens.
  const std::string s = print_kernel(sample());
  for (size_t n = 0; n < s.size(); ++n) {
    try {
      parse_kernel(s.substr(0, n));
    } catch (const Error&) {
    }
  }
}

TEST(KernelVerify, NamesTheInstruction) {
  Kernel k = sample();
  for (KInst& i : k.insts)
    if (i.op == KOp::lane_fold) i.type.dtype = DType::i32;
  try {
    verify_kernel(k);
    FAIL();
  } catch (const InternalError& e) {
    EXPECT_NE(std::string(e.what()).find("lane_fold"), std::string::npos) << e.what();
  }
}

TEST(KernelBuilder, RemovesWhatIsUnused) {
  KernelBuilder b;
  const uint32_t out = b.buffer(0, DType::f32, true);
  const Kv unread = b.var(b.constant(DType::f32, 1));
  const Kv at = b.begin_for(b.index(0), b.dim(10), b.index(1));
  b.set(unread, b.constant(DType::f32, 2) + b.cast(at, DType::f32));
  b.end();
  b.store(out, b.index(0), b.constant(DType::f32, 3));
  const std::string s = print_kernel(b.finish());
  EXPECT_EQ(s.find("for_range"), std::string::npos) << s;
  EXPECT_EQ(s.find("var"), std::string::npos) << s;
}

TEST(KernelBuilder, InvariantCodeLeavesLoops) {
  KernelBuilder b;
  const uint32_t out = b.buffer(0, DType::i64, true);
  const Kv at = b.begin_for(b.item_begin(), b.item_end(), b.index(1));
  Kv outside;
  {
    KernelBuilder::At before(b, 0);
    outside = b.item_end() * b.index(3);
  }
  b.store(out, at, outside + at);
  b.end();
  const std::string s = print_kernel(b.finish());
  EXPECT_LT(s.find("scalar.mul"), s.find("for_range")) << s;
}

}  // namespace
