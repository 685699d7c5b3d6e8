// The engine "eager": one call after the other on tensors with the recorded strides, gradients by the tape.
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "eager/call.h"
#include "golden_engine.h"

namespace phlox {

namespace {

class EagerCase {
 public:
  EagerCase(const GoldenFile& file, const GoldenCase& c, Device& device) : file_(file), case_(c), device_(device) {}

  GoldenResult run() {
    std::vector<Tensor> wrt;
    for (const std::string& n : case_.inputs) values_[n] = {input(n)};
    for (const std::string& n : case_.consts) values_[n] = {to_device(file_.tensor(case_, "const:" + n), nullptr)};
    for (const std::string& n : case_.grad_wrt) {
      wrt.push_back(values_.at(n)[0]);
      wrt.back()->requires_grad = true;
    }
    for (const GoldenNode& n : case_.nodes) call(n);
    std::vector<Tensor> outputs;
    for (const GoldenArg& o : case_.outputs)
      for (const Tensor& t : values_.at(o.text)) outputs.push_back(t);
    if (outputs.size() != case_.out_dtypes.size())
      fail(ErrorCode::invalid_argument, {.op = case_.op, .fact = "wrong number of results", .got = cat(outputs.size()),
                                         .expected = cat(case_.out_dtypes.size())});
    GoldenResult r;
    for (const Tensor& t : outputs) r.outputs.push_back(to_host(t));
    if (wrt.empty()) return r;
    std::vector<Tensor> roots, cotangents;
    for (int64_t i : case_.grad_of) {
      if (!outputs[size_t(i)]->requires_grad) continue;
      roots.push_back(outputs[size_t(i)]);
      cotangents.push_back(to_device(file_.tensor(case_, cat("cot:", i)), nullptr));
    }
    if (roots.empty()) return r;
    const std::vector<Tensor> grads = run_backward(roots, cotangents, false, false, &wrt);
    for (size_t i = 0; i < wrt.size(); ++i) if (grads[i]) r.grads[case_.grad_wrt[i]] = to_host(grads[i]);
    return r;
  }

 private:
  Tensor input(const std::string& name) {
    const auto it = case_.strides.find(name);
    return to_device(file_.tensor(case_, "in:" + name), it == case_.strides.end() ? nullptr : &it->second);
  }

  // A tensor of these strides with the values of `t`; an expanded dim (stride 0) is stored once.
  Tensor to_device(const HostTensor& t, const std::pair<Ints, Ints>* strides) {
    const int64_t size = dtype_bytes(t.dtype);
    if (!strides) {
      const Tensor r = make_tensor(device_, t.dtype, t.shape);
      if (t.bytes()) device_.copy(r->bytes(), t.data, t.bytes(), Device::CopyKind::to_device, 0);
      return r;
    }
    int64_t span = t.numel() ? 1 : 0;
    for (size_t d = 0; d < t.shape.size(); ++d) span += t.shape[d] ? (t.shape[d] - 1) * strides->second[d] : 0;
    HostTensor flat = make_host_tensor(t.dtype, {span});
    std::memset(flat.data, 0, size_t(flat.bytes()));
    for (int64_t i = 0; i < t.numel(); ++i) {
      int64_t rest = i, at = 0;
      for (size_t d = t.shape.size(); d-- > 0;) { at += rest % t.shape[d] * strides->second[d]; rest /= t.shape[d]; }
      std::memcpy(flat.as<char>() + at * size, t.as<char>() + i * size, size_t(size));
    }
    return make_view(to_device(flat, nullptr), 0, t.shape, strides->second);
  }

  HostTensor to_host(const Tensor& t) {
    const NoGrad guard;
    const Tensor c = contiguous(t);
    HostTensor r = make_host_tensor(c->dtype, c->sizes);
    if (r.bytes()) device_.copy(r.data, c->bytes(), r.bytes(), Device::CopyKind::to_host, 0);
    device_.synchronize(0);
    return r;
  }

  void call(const GoldenNode& n) {
    if (n.op == "getitem") {
      values_[n.name] = {values_.at(n.args[0].text)[size_t(n.args[1].integer)]};
      return;
    }
    const GoldenOp found = find_golden_op(n.op);
    const GoldenArgs args(*found.op, n, [](void* self, const std::string& name) {
      std::vector<Arg> r;
      for (const Tensor& t : static_cast<EagerCase*>(self)->values_.at(name)) r.push_back(tensor_arg(t));
      return r;
    }, this);
    const bool writes = found.in_place && (uint8_t(found.op->op->record.forms) & uint8_t(Forms::in_place));
    // resize changes the shape: the tensor is replaced.
    if (writes && found.op->schema.name.substr(0, 6) != "resize") {
      call_in_place(*found.op, args.args());
      values_[n.name] = values_.at(n.args[0].text);
      return;
    }
    const Tensors out = call_op(*found.op, args.args(), &device_);
    std::vector<Tensor>& kept = values_[n.name];
    kept.assign(out.begin(), out.end());
    if (found.in_place) values_[n.args[0].text] = kept;
  }

  const GoldenFile& file_;
  const GoldenCase& case_;
  Device& device_;
  std::unordered_map<std::string, std::vector<Tensor>> values_;
};

class EagerEngine : public GoldenEngine {
 public:
  explicit EagerEngine(Device& device) : device_(device) {}
  GoldenResult run(const GoldenFile& file, const GoldenCase& c) override { return EagerCase(file, c, device_).run(); }

 private:
  Device& device_;
};

}  // namespace

std::unique_ptr<GoldenEngine> eager_engine(const std::string& device) {
  if (device == "cpu") return std::make_unique<EagerEngine>(cpu_device());
  register_cuda_devices();
  return std::make_unique<EagerEngine>(get_device({DeviceKind::cuda, 0}));
}

}  // namespace phlox
