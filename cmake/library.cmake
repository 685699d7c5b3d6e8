# libphlox.so: everything, behind the C ABI. Only what cmake/phlox.map names leaves it.
foreach(layer capi_rt capi)
  target_compile_definitions(phlox_${layer} PRIVATE PHLOX_BUILD PHLOX_VERSION="${PROJECT_VERSION}")
endforeach()

file(WRITE ${PROJECT_BINARY_DIR}/phlox_library.cpp "")
add_library(phlox SHARED ${PROJECT_BINARY_DIR}/phlox_library.cpp)
target_link_libraries(phlox PRIVATE -Wl,--whole-archive phlox_capi phlox_capi_rt -Wl,--no-whole-archive)
target_link_options(phlox PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/phlox.map -Wl,--no-undefined -Wl,--gc-sections)
target_include_directories(phlox INTERFACE ${PROJECT_SOURCE_DIR}/include)
set_target_properties(phlox PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/phlox.map VERSION ${PROJECT_VERSION}
                                       SOVERSION ${PROJECT_VERSION_MAJOR} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
