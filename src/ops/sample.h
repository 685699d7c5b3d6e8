// Samples: calls that show what an op takes, and calls that it must refuse. Tests of every kind walk them (all engines
// agree, gradients are right, errors say everything), so an op that comes with samples comes with its tests.
//
// A call is written as text, its arguments by the schema, positional ones first:
//   "[2,3]:0.1..4, [3], alpha=2"           tensors of the dtype that is being tried, elements from 0.1 to 4
//   "[4,3], dim=1, i64[2,3]:0..2"          a tensor of a fixed dtype
//   "{[2,3], [1,3]}, 1"   "[2,3], [0,1]"   a list of tensors; a list of numbers
//   "[3,3]:spd"   ":distinct"  ":sorted"   positive definite; no two equal; ascending along the last dim
//   "f64[4]=1|0|2.5|3"                     these elements, repeated as needed
//   "[3]!"                                 a tensor that takes part in no gradient
// An op without a rule gets calls derived from its schema, of which those remain that its type rule accepts.
// Refuses: text that the schema cannot read (InternalError: it is ours).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "graph/op.h"

namespace phlox {

struct SampleTensor {
  enum class Fill : uint8_t { uniform, distinct, sorted, positive_definite, listed };
  Ints shape;
  std::optional<DType> dtype;  // none: the one that is being tried
  Fill fill = Fill::uniform;
  bool ranged = false;         // low and high were given
  double low = -3, high = 3;   // of elements, inclusive for whole numbers
  std::vector<double> listed;
  bool constant = false;
};

struct SampleArg {
  enum class Kind : uint8_t { plain, tensor, list, tensors } kind = Kind::plain;
  Arg plain;                     // what is neither tensor nor list nor text
  std::string text;              // of a plain string
  SampleTensor tensor;
  std::vector<SampleArg> items;  // plain ones of a list; tensors or absent ones of tensors
};

struct Sample {
  const OpInfo* op = nullptr;
  std::string text;
  std::vector<SampleArg> args;   // by schema, to the end: defaults filled in
};

struct Samples {
  std::vector<Sample> calls;     // must work in at least one dtype
  std::vector<Sample> refused;   // must be Errors
  bool values = true;            // false: elements are random or undefined, only shapes and dtypes can be compared
  bool gradients = true;         // false: not to be held against finite differences (steps, special points)
  bool layouts = true;           // false: means the storage, so that only dense tensors can be held against values
  double tolerance = 1;          // times the usual distance from the float64 oracle that is allowed
};

// What a record's `.sample` rule fills. A rule may serve a whole family: `names` lists the ops that a line is about,
// "log log2 add.Tensor", and nothing else happens for others. An op for which a rule gave no call derives its calls.
class SampleBuilder {
 public:
  SampleBuilder(const OpInfo& op, Samples& out) : op_(op), out_(out) {}
  SampleBuilder& of(std::string_view names, std::initializer_list<const char*> calls);
  SampleBuilder& within(std::string_view names, const char* range);  // derived calls, elements in "low..high"
  SampleBuilder& refuses(std::string_view names, std::initializer_list<const char*> calls);
  SampleBuilder& no_values(std::string_view names);
  SampleBuilder& dense_only(std::string_view names);
  SampleBuilder& no_gradients(std::string_view names);
  SampleBuilder& loose(std::string_view names, double times);        // `tolerance`
  const OpInfo& op() const { return op_; }

 private:
  bool is_in(std::string_view names) const;
  const OpInfo& op_;
  Samples& out_;
};

// A rule of one op: `.sample = SAMPLES("[2,3], 1", "[4], 0")`.
#define SAMPLES(...) [](SampleBuilder& s) { s.of(s.op().schema.full_name(), {__VA_ARGS__}); }

Samples samples_of(const OpInfo& op);
Sample parse_sample(const OpInfo& op, const char* text);

// A sample with tensors of one dtype: the arguments of a call, whose tensors are numbered in the order of for_each_value.
class SampleCall {
 public:
  // `seed` decides the elements. Whole-number and bool tensors take what of a range they can hold.
  SampleCall(const Sample& sample, DType dtype, uint64_t seed);
  SampleCall(SampleCall&&) = default;
  std::vector<HostTensor> tensors;
  std::vector<bool> constant;    // by tensor: no gradient
  std::vector<bool> varies;      // by tensor: of the dtype that is being tried
  // The arguments with tensor k as `tensor(k)`.
  template <class F>
  std::vector<Arg> args(F&& tensor) {
    std::vector<Arg> r;
    uint32_t next = 0;
    for (const SampleArg& a : sample_.args) r.push_back(make(a, next, tensor));
    return r;
  }
  const Sample& sample() const { return sample_; }

 private:
  template <class F>
  Arg make(const SampleArg& a, uint32_t& next, F& tensor) {
    if (a.kind == SampleArg::Kind::tensor) return tensor(next++);
    if (a.kind == SampleArg::Kind::plain) return a.plain.kind == ArgKind::string ? Arg::of_string(a.text) : a.plain;
    std::vector<Arg> items;
    for (const SampleArg& i : a.items) items.push_back(make(i, next, tensor));
    lists_.push_back(std::move(items));
    return Arg::of_list(lists_.back());
  }
  Sample sample_;
  std::vector<std::vector<Arg>> lists_;  // moving a vector keeps its items in place
};

// The types of a call's results with tensors of this dtype; false, and why, when the op refuses it.
bool sample_types(const Sample& sample, DType dtype, SmallVector<TensorType, 2>& types, std::string& why);

// Elements for a tensor of a sample.
HostTensor fill_sample(const SampleTensor& t, DType dtype, uint64_t seed);

}  // namespace phlox
