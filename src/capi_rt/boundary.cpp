#include "capi_rt/boundary.h"

#include <mutex>
#include <new>

#include "base/error.h"
#include "device/cuda/cuda_device.h"

namespace phlox {

static_assert(int(ErrorCode::internal) + 1 == PHLOX_INTERNAL && int(ErrorCode::invalid_argument) + 1 == PHLOX_INVALID_ARGUMENT &&
              int(ErrorCode::autograd) + 1 == PHLOX_AUTOGRAD && int(ErrorCode::device) + 1 == PHLOX_DEVICE);
static_assert(int(DType::boolean) == PHLOX_BOOL && int(DType::f32) == PHLOX_F32 && int(DType::c128) == PHLOX_C128 &&
              int(DType::f8e5m2) == PHLOX_F8E5M2 && int(DType::u64) == PHLOX_U64);
static_assert(int(DeviceKind::cpu) == PHLOX_CPU && int(DeviceKind::cuda) == PHLOX_CUDA);

phlox_error& last_error() {
  static thread_local std::unique_ptr<phlox_error> error;  // the static block of a thread is small
  if (!error) error = std::make_unique<phlox_error>();
  return *error;
}

static phlox_status record(ErrorCode code, const ErrorParts& parts, const char* message) {
  phlox_error& e = last_error();
  e.status = int32_t(code) + 1;
  e.message = message;
  const std::string* from[] = {&parts.op, &parts.fact, &parts.got, &parts.expected, &parts.remedy};
  for (int i = 0; i < 5; ++i) e.parts[i] = *from[i];
  return e.status;
}

phlox_status record_exception() noexcept {
  try {
    try {
      throw;
    } catch (const Error& e) {
      return record(e.code(), e.parts(), e.what());
    } catch (const CallbackError& e) {
      last_error() = e.error();
      last_error().status = PHLOX_CALLBACK;
      return PHLOX_CALLBACK;
    } catch (const std::bad_alloc&) {
      return record(ErrorCode::out_of_memory, {.op = "phlox", .fact = "the system has no memory left", .got = "a request that it refused",
                                               .expected = "memory", .remedy = "use smaller tensors or end other programs"},
                    "phlox: the system has no memory left");
    } catch (const std::exception& e) {
      return record(ErrorCode::internal, {.op = "internal", .fact = e.what()}, e.what());
    } catch (...) {
      return record(ErrorCode::internal, {.op = "internal", .fact = "unknown exception"}, "internal: unknown exception");
    }
  } catch (...) {  // no memory for the text: the code alone goes out
    return PHLOX_OUT_OF_MEMORY;
  }
}

void check_callback(phlox_status status) {
  if (status == PHLOX_OK) return;
  phlox_error e = last_error();
  if (e.status != status) {  // it failed without saying why
    e = {};
    e.message = "callback: failed without a message";
    e.parts[PHLOX_ERROR_OP] = "callback";
    e.parts[PHLOX_ERROR_FACT] = "failed without a message";
  }
  throw CallbackError(std::move(e));
}

void null_handle(const char* entry, const char* what) {
  fail(ErrorCode::invalid_argument, {.op = entry, .fact = cat("a null pointer was given as the ", what)});
}

DType need_dtype(int32_t dtype, const char* entry) {
  if (dtype < 0 || dtype >= dtype_count)
    fail(ErrorCode::invalid_argument, {.op = entry, .fact = "there is no such dtype", .got = cat(dtype),
                                       .expected = cat("0 to ", dtype_count - 1)});
  return DType(dtype);
}

Ints need_sizes(const int64_t* sizes, int32_t rank, const char* entry) {
  if (rank < 0 || rank > 64 || (rank > 0 && !sizes))
    fail(ErrorCode::invalid_argument, {.op = entry, .fact = "the sizes cannot be read", .got = cat("rank ", rank),
                                       .expected = "0 to 64 dimensions"});
  Ints r;
  for (int32_t d = 0; d < rank; ++d) {
    if (sizes[d] < 0)
      fail(ErrorCode::invalid_argument, {.op = entry, .fact = cat("the size of dimension ", d, " is negative"), .got = cat(sizes[d])});
    r.push_back(sizes[d]);
  }
  return r;
}

void start_devices() {
  static std::once_flag once;
  std::call_once(once, register_cuda_devices);
}

DeviceId to_device_id(phlox_device d) {
  if (d.kind < PHLOX_CPU || d.kind > PHLOX_CUDA || d.index < 0 || d.index > 127)
    fail(ErrorCode::device, {.op = "device", .fact = "there is no such device", .got = cat("kind ", d.kind, ", index ", d.index),
                                .expected = "kind 0 (cpu) or 1 (cuda), index 0 to 127", .remedy = "phlox doctor lists the devices of this machine"});
  return {DeviceKind(d.kind), int8_t(d.index)};
}
phlox_device from_device_id(DeviceId id) { return {int32_t(id.kind), id.index}; }

Device& need_device(phlox_device d) {
  const DeviceId id = to_device_id(d);
  if (id.kind != DeviceKind::cpu) start_devices();
  return get_device(id);
}

}  // namespace phlox

using namespace phlox;

extern "C" {

const phlox_error* phlox_last_error(void) { return &last_error(); }
phlox_status phlox_error_status(const phlox_error* e) { return e ? e->status : PHLOX_OK; }
const char* phlox_error_message(const phlox_error* e) { return e ? e->message.c_str() : ""; }
const char* phlox_error_part(const phlox_error* e, int32_t part) {
  return e && part >= 0 && part < 5 ? e->parts[part].c_str() : "";
}

phlox_status phlox_raise(phlox_status status, const char* op, const char* fact, const char* got, const char* expected,
                         const char* remedy) {
  if (status == PHLOX_OK) return status;
  const phlox_status recorded = guarded([&] {
    auto text = [](const char* s) { return std::string(s ? s : ""); };
    const ErrorCode code = status > PHLOX_OK && status <= PHLOX_INTERNAL ? ErrorCode(status - 1) : ErrorCode::internal;
    throw Error(code, {.op = text(op), .fact = text(fact), .got = text(got), .expected = text(expected), .remedy = text(remedy)});
  });
  if (recorded != PHLOX_OUT_OF_MEMORY) last_error().status = status;
  return status;
}

const char* phlox_text_data(const phlox_text* t) { return t ? t->text.c_str() : ""; }
size_t phlox_text_size(const phlox_text* t) { return t ? t->text.size() : 0; }
void phlox_text_free(phlox_text* t) { delete t; }

}  // extern "C"
