#include "ops/host_args.h"

namespace phlox {

static HostAttr host_attr(const Arg& a, int64_t& tensors) {
  HostAttr r;
  switch (a.kind) {
    case ArgKind::value: r.kind = HostAttr::Kind::tensor; r.integer = tensors++; break;
    case ArgKind::boolean: r.kind = HostAttr::Kind::boolean; r.integer = int64_t(a.bits); break;
    case ArgKind::dim: r.kind = HostAttr::Kind::integer; r.integer = dim_hint(a.as_dim()); break;
    case ArgKind::real: r.kind = HostAttr::Kind::real; r.real = a.real; break;
    case ArgKind::string: r.kind = HostAttr::Kind::string; r.text = std::string(a.as_string()); break;
    case ArgKind::dtype: r.kind = HostAttr::Kind::dtype; r.integer = int64_t(a.bits); break;
    case ArgKind::list:
      r.kind = HostAttr::Kind::list;
      for (const Arg& i : a.items()) r.items.push_back(host_attr(i, tensors));
      break;
    default: break;
  }
  return r;
}

HostAttr host_attr_of(const Arg& a) {
  int64_t none = 0;
  return host_attr(a, none);
}

HostCall host_call(const Node& node) {
  HostCall c;
  int64_t tensors = 0;
  for (const Arg& a : node.args) c.args.push_back(host_attr(a, tensors));
  return c;
}

}  // namespace phlox
