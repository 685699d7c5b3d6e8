#include "device/cuda/driver.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "base/error.h"
#include "device/cuda/cuda_device.h"

#if __has_include("/usr/local/cuda/include/cuda.h")
#include "/usr/local/cuda/include/cuda.h"
#define PHLOX_HAVE_CUDA_HEADER 1
#endif

namespace phlox {

#ifdef PHLOX_HAVE_CUDA_HEADER
// Our own declarations against the toolkit's: as many parameters, each passed the same way.
template <class A, class B>
constexpr bool passed_alike = std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B);
template <class A, class B>
struct same_shape : std::false_type {};
template <class R, class... A, class S, class... B>
  requires(sizeof...(A) == sizeof...(B))
struct same_shape<R (*)(A...), S (*)(B...)>
    : std::bool_constant<sizeof(R) == sizeof(S) && (passed_alike<A, B> && ...)> {};
#define PHLOX_CHECK_SHAPE(member, symbol, parameters) \
  static_assert(same_shape<decltype(cuda::Driver::member), decltype(&::symbol)>::value, #symbol);
PHLOX_CUDA_DRIVER_FUNCTIONS(PHLOX_CHECK_SHAPE)

TEST(Driver, constants_match_the_toolkit) {
  EXPECT_EQ(int(cuda::out_of_memory), int(CUDA_ERROR_OUT_OF_MEMORY));
  EXPECT_EQ(int(cuda::not_ready), int(CUDA_ERROR_NOT_READY));
  EXPECT_EQ(int(cuda::graph_update_failure), int(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE));
  EXPECT_EQ(int(cuda::max_threads_per_block), int(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  EXPECT_EQ(int(cuda::multiprocessor_count), int(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  EXPECT_EQ(int(cuda::l2_cache_size), int(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
  EXPECT_EQ(int(cuda::capability_major), int(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  EXPECT_EQ(int(cuda::capability_minor), int(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  EXPECT_EQ(int(cuda::shared_per_multiprocessor),
            int(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR));
  EXPECT_EQ(int(cuda::shared_per_block_optin), int(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  EXPECT_EQ(int(cuda::function_static_shared), int(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
  EXPECT_EQ(int(cuda::function_registers), int(CU_FUNC_ATTRIBUTE_NUM_REGS));
  EXPECT_EQ(int(cuda::function_max_dynamic_shared), int(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES));
  EXPECT_EQ(int(cuda::stream_non_blocking), int(CU_STREAM_NON_BLOCKING));
  EXPECT_EQ(int(cuda::event_no_timing), int(CU_EVENT_DISABLE_TIMING));
  EXPECT_EQ(int(cuda::pointer_memory_type), int(CU_POINTER_ATTRIBUTE_MEMORY_TYPE));
  EXPECT_EQ(int(cuda::memory_type_host), int(CU_MEMORYTYPE_HOST));
  EXPECT_EQ(int(cuda::capture_relaxed), int(CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_EQ(sizeof(cuda::GraphUpdateInfo), sizeof(CUgraphExecUpdateResultInfo));
}
#endif

TEST(Driver, a_missing_driver_is_explained) {
  if (cuda::cuda_driver()) GTEST_SKIP() << "this machine has a driver";
  EXPECT_EQ(cuda::cuda_driver(), nullptr);
  EXPECT_EQ(cuda::cuda_device_count(), 0);
  EXPECT_NE(cuda::cuda_driver_problem().find("libcuda.so.1"), std::string::npos)
      << cuda::cuda_driver_problem();
  try {
    cuda_device(0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::device);
    EXPECT_NE(std::string(e.what()).find("libcuda.so.1"), std::string::npos) << e.what();
  }
}

TEST(Driver, report_names_every_library) {
  const std::vector<cuda::LibraryInfo> report = cuda::library_report();
  ASSERT_EQ(report.size(), 4u);
  const char* const names[] = {"libcuda", "nvrtc", "cublasLt", "cudnn"};
  for (size_t i = 0; i < report.size(); ++i) {
    EXPECT_EQ(report[i].name, names[i]);
    // Either it can be used and says where and what it is, or it says why not.
    EXPECT_TRUE(!report[i].problem.empty() || (!report[i].path.empty() && !report[i].version.empty()))
        << names[i];
  }
  std::printf("%s", cuda::library_report_text().c_str());
}

TEST(Driver, registration) {
  register_cuda_devices();
  EXPECT_EQ(device_count(DeviceKind::cuda), cuda::cuda_device_count());
  EXPECT_THROW(get_device({DeviceKind::cuda, 100}), Error);
}

TEST(Library, search_tells_what_was_tried) {
  const char* const names[] = {"libphlox_no_such_thing.so"};
  const std::string dirs[] = {"/nowhere", ""};
  const Library library = open_library(names, dirs);
  EXPECT_FALSE(library);
  EXPECT_NE(library.tried.find("libphlox_no_such_thing.so"), std::string::npos);
  EXPECT_EQ(library.symbol("x"), nullptr);
  const char* const libc[] = {"libc.so.6"};
  const Library found = open_library(libc, dirs);
  ASSERT_TRUE(found) << found.tried;
  EXPECT_NE(found.path.find("libc.so.6"), std::string::npos);
  EXPECT_NE(found.symbol("memcpy"), nullptr);
}

}  // namespace phlox
