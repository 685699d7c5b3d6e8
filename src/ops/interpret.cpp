#include "ops/interpret.h"

#include <cstring>

#include "base/error.h"
#include "ops/decompose.h"
#include "ops/fuse.h"
#include "ops/host_args.h"

namespace phlox {

namespace {

// The sizes that the graph's symbols have, read off the inputs.
Ints bind_symbols(const Graph& g, std::span<const HostTensor> inputs) {
  Ints symbols;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& t = g.type(g.inputs()[i]);
    for (int d = 0; d < t.rank(); ++d) {
      const int id = t.shape[d].symbol_id();
      if (id < 0) continue;
      if (symbols.size() <= size_t(id)) symbols.resize(size_t(id) + 1);
      symbols[id] = inputs[i].shape[d];
    }
  }
  return symbols;
}

HostTensor allocate(const TensorType& t, const Ints& symbols) {
  Ints shape;
  for (Dim d : t.shape) shape.push_back(evaluate(d, symbols));
  return make_host_tensor(t.dtype, shape);
}

// Bad indices read as 0 until they are reported: also in a dimension that has no elements there must be one to read.
void give_room(HostTensor& t) {
  if (t.numel() != 0) return;
  Ints shape = t.shape;
  for (int64_t& d : shape) d = std::max<int64_t>(d, 1);
  const Ints empty = t.shape;
  t = make_host_tensor(t.dtype, shape);
  std::memset(t.data, 0, size_t(t.bytes()));
  t.shape = empty;
}

void run_loop(const Graph& g, GraphValue v, std::vector<HostTensor>& values, const std::vector<bool>& buffers,
              const Ints& symbols, InterpretMode mode) {
  const Node& node = g.node(g.value(v).node);
  const FusedLoop f = fuse_loop(g, std::span(&v, 1), buffers);
  values[v] = allocate(g.type(v), symbols);
  give_room(values[v]);
  if (node.op->op->record.stores) {
    const HostTensor& base = values[node.args[0].value];
    std::memcpy(values[v].data, base.data, size_t(base.numel() * dtype_bytes(base.dtype)));
  }
  std::vector<void*> pointers;
  std::vector<int64_t> numbers;
  for (GraphValue in : f.inputs) {
    pointers.push_back(values[in].data);
    int64_t bits = 0;
    if (g.value(in).node == no_node && g.is_number(in)) std::memcpy(&bits, values[in].data, size_t(dtype_bytes(values[in].dtype)));
    numbers.push_back(bits);
  }
  pointers.push_back(values[v].data);
  numbers.push_back(0);
  int64_t status = 0;
  interpret_loop(f.loop, {.pointers = pointers, .numbers = numbers, .symbols = symbols, .status = &status}, mode);
  if (status)
    fail(ErrorCode::out_of_range, {.op = node.op->schema.name, .fact = "index out of range",
                                   .expected = "indices inside the indexed dimension"});
}

}  // namespace

std::vector<HostTensor> interpret_graph(const Graph& graph, std::span<const HostTensor> inputs, InterpretMode mode) {
  const Graph g = decompose(graph);
  const Ints symbols = bind_symbols(g, inputs);
  std::vector<HostTensor> values(g.value_count());
  std::vector<bool> buffers(g.value_count());
  for (size_t i = 0; i < inputs.size(); ++i) {
    HostTensor& t = values[g.inputs()[i]] = inputs[i];
    if (is_complex(t.dtype)) {
      t.dtype = real_dtype(t.dtype);
      t.shape.push_back(2);
    }
    give_room(t);
    buffers[g.inputs()[i]] = true;
  }
  for (const Node& n : g.nodes()) {
    const OpRecord& r = n.op->op->record;
    if (r.loop || r.stores) {
      for (GraphValue v : n.results) run_loop(g, v, values, buffers, symbols, mode);
    } else {
      PHLOX_CHECK(r.reference, n.op->schema.full_name(), " cannot be interpreted");
      HostCall call = host_call(n);
      for_each_value(std::span<const Arg>(n.args), [&](const Arg& a) { call.in.push_back(values[a.value]); });
      const bool sized_by_data = has(r.effects, Effects::host_read);
      for (GraphValue v : n.results) call.out.push_back(sized_by_data ? HostTensor{} : allocate(g.type(v), symbols));
      r.reference(call);
      const std::vector<HostTensor>& out = call.out;
      for (size_t i = 0; i < out.size(); ++i) values[n.results[i]] = out[i];
    }
    for (GraphValue v : n.results) buffers[v] = true;
  }
  std::vector<HostTensor> out;
  for (size_t i = 0; i < g.outputs().size(); ++i) {
    out.push_back(values[g.outputs()[i]]);
    if (!is_complex(graph.type(graph.outputs()[i]).dtype)) continue;
    out.back().dtype = graph.type(graph.outputs()[i]).dtype;
    out.back().shape.pop_back();
  }
  return out;
}

}  // namespace phlox
