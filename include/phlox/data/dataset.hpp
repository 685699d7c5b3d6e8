// Datasets: numbered examples that can be fetched in batches.
//
// A dataset is any type with `int64_t size() const` and `batch(const std::vector<int64_t>& numbers) const`,
// which returns what a training step takes: a Tensor, a tuple of tensors, a struct. batch() may be called
// from another thread. A type that has `get(i)` instead (a Tensor or a tuple of tensors for one example) is
// batched by stacking: see Stacked.
#pragma once
#include <cstring>

#include "phlox/autograd.hpp"

namespace phlox {
inline namespace v1 {
namespace data {

namespace data_detail {
// Rows of a tensor by number, copied without any op: cheap, and safe beside a training thread.
inline Tensor rows(const Tensor& source, const std::vector<int64_t>& numbers) {
  std::vector<int64_t> sizes = source.sizes().vec();
  const int64_t count = sizes[0];
  sizes[0] = int64_t(numbers.size());
  phlox_tensor* h;
  v1::detail::check(
      phlox_tensor_empty(int32_t(source.dtype()), sizes.data(), int32_t(sizes.size()), Device().raw(), &h));
  Tensor out = Tensor::adopt(h);
  const size_t bytes = count ? size_t(source.numel() / count) * size_t(source.element_size()) : 0;
  const char* from = static_cast<const char*>(source.data_ptr());
  char* to = static_cast<char*>(out.data_ptr());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] < 0 || numbers[i] >= count)
      throw Error(ErrorCode::out_of_range, "dataset", "there is no example of this number",
                  std::to_string(numbers[i]), "0 to " + std::to_string(count - 1));
    std::memcpy(to + i * bytes, from + size_t(numbers[i]) * bytes, bytes);
  }
  return out;
}
}  // namespace data_detail

// Tensors whose first dimension counts examples: TensorDataset(images, labels). Kept as contiguous host
// memory.
template <size_t n>
class TensorDatasetOf {
 public:
  template <class... T>
    requires(sizeof...(T) == n)
  explicit TensorDatasetOf(const T&... tensors) : tensors_{tensors.detach().cpu().contiguous()...} {
    for (const Tensor& t : tensors_)
      if (t.dim() < 1 || t.size(0) != tensors_[0].size(0))
        throw Error(ErrorCode::invalid_argument, "TensorDataset", "the first dimensions differ", t.describe(),
                    tensors_[0].describe());
  }
  int64_t size() const { return tensors_[0].size(0); }
  auto batch(const std::vector<int64_t>& numbers) const {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return std::make_tuple(data_detail::rows(tensors_[i], numbers)...);
    }(std::make_index_sequence<n>());
  }
  const Tensor& tensor(size_t i) const { return tensors_[i]; }

 private:
  Tensor tensors_[n];
};
template <class... T>
struct TensorDataset : TensorDatasetOf<sizeof...(T)> {
  using TensorDatasetOf<sizeof...(T)>::TensorDatasetOf;
};
template <class... T>
TensorDataset(const T&...) -> TensorDataset<T...>;

// Gives a dataset with get(i) a batch(): every tensor of the examples stacked along a new first dimension.
template <class D>
class Stacked {
 public:
  explicit Stacked(D dataset) : dataset_(std::move(dataset)) {}
  int64_t size() const { return dataset_.size(); }
  auto batch(const std::vector<int64_t>& numbers) const {
    using Example = decltype(dataset_.get(0));
    std::vector<Example> examples;
    for (int64_t i : numbers) examples.push_back(dataset_.get(i));
    if constexpr (std::is_same_v<Example, Tensor>) {
      return stack(examples, [](const Example& e) -> const Tensor& { return e; });
    } else {
      return [&]<size_t... i>(std::index_sequence<i...>) {
        return std::make_tuple(
            stack(examples, [](const Example& e) -> const Tensor& { return std::get<i>(e); })...);
      }(std::make_index_sequence<std::tuple_size_v<Example>>());
    }
  }

 private:
  template <class Example, class Part>
  static Tensor stack(const std::vector<Example>& examples, const Part& part) {
    std::vector<Tensor> parts;
    for (const Example& e : examples) parts.push_back(part(e));
    return v1::stack(parts, 0);
  }
  D dataset_;
};

// A text as bytes, cut into windows: batch() gives x and y [batch, length] of int64, where y is x one byte
// later.
class TextDataset {
 public:
  // Windows begin every `stride` bytes (length when 0).
  TextDataset(std::string text, int64_t length, int64_t stride = 0)
      : text_(std::move(text)), length_(length), stride_(stride ? stride : length) {
    if (length < 1 || stride_ < 1 || int64_t(text_.size()) <= length)
      throw Error(ErrorCode::invalid_argument, "TextDataset", "the text has no window of this length",
                  std::to_string(text_.size()) + " bytes", "more than " + std::to_string(length));
  }
  int64_t size() const { return (int64_t(text_.size()) - 1 - length_) / stride_ + 1; }
  std::tuple<Tensor, Tensor> batch(const std::vector<int64_t>& numbers) const {
    const int64_t sizes[2] = {int64_t(numbers.size()), length_};
    Tensor out[2];
    for (int part = 0; part < 2; ++part) {
      phlox_tensor* h;
      v1::detail::check(phlox_tensor_empty(PHLOX_I64, sizes, 2, Device().raw(), &h));
      out[part] = Tensor::adopt(h);
      int64_t* to = out[part].data<int64_t>();
      for (int64_t number : numbers) {
        if (number < 0 || number >= size())
          throw Error(ErrorCode::out_of_range, "TextDataset", "there is no window of this number",
                      std::to_string(number), "0 to " + std::to_string(size() - 1));
        const unsigned char* from =
            reinterpret_cast<const unsigned char*>(text_.data()) + number * stride_ + part;
        for (int64_t i = 0; i < length_; ++i) *to++ = from[i];
      }
    }
    return {out[0], out[1]};
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int64_t length_, stride_;
};

}  // namespace data
}  // namespace v1
}  // namespace phlox
