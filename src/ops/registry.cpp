#include "ops/registry.h"

#include <deque>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/root.h"
#include "ops/families.h"

namespace phlox {

namespace {
struct Registry {
  std::shared_mutex mutex;
  std::deque<OpInfo> ops;
  std::unordered_map<std::string, const OpInfo*> by_name;
  std::unordered_map<const Op*, const OpInfo*> by_record;

  const OpInfo& add(const Op& op) {
    OpInfo info{&op, parse_schema(op.record.schema), uint32_t(ops.size())};
    const std::string name = info.schema.full_name();
    if (by_name.count(name))
      fail(ErrorCode::invalid_argument, {.op = "register", .fact = cat("op ", name, " exists already"),
                                         .remedy = "choose another name or overload"});
    ops.push_back(std::move(info));
    by_name.emplace(name, &ops.back());
    by_record.emplace(&op, &ops.back());
    return ops.back();
  }
  Registry() {
    install_number_rule();
    for (OpFamily family : op_families())
      for (const Op* op : family) add(*op);
  }
};
Registry& registry() { return root_object<Registry>(); }
}  // namespace

const OpInfo* find_op(std::string_view full_name) {
  Registry& r = registry();
  std::shared_lock lock(r.mutex);
  auto it = r.by_name.find(std::string(full_name));
  return it == r.by_name.end() ? nullptr : it->second;
}

const OpInfo& op_info(const Op& op) {
  Registry& r = registry();
  std::shared_lock lock(r.mutex);
  auto it = r.by_record.find(&op);
  PHLOX_CHECK(it != r.by_record.end(), "op ", op.record.schema, " is in no family");
  return *it->second;
}

std::vector<const OpInfo*> all_ops() {
  Registry& r = registry();
  std::shared_lock lock(r.mutex);
  std::vector<const OpInfo*> v;
  for (const OpInfo& i : r.ops) v.push_back(&i);
  return v;
}

const OpInfo& register_op(const Op& op) {
  Registry& r = registry();
  std::unique_lock lock(r.mutex);
  return r.add(op);
}

}  // namespace phlox
