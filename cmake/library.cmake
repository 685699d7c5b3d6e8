# libphlox.so: everything, behind the C ABI. Only what cmake/phlox.map names leaves it.
foreach(layer capi_rt capi)
  target_compile_definitions(phlox_${layer} PRIVATE PHLOX_BUILD PHLOX_VERSION="${PROJECT_VERSION}")
endforeach()

file(WRITE ${PROJECT_BINARY_DIR}/phlox_library.cpp "")
add_library(phlox SHARED ${PROJECT_BINARY_DIR}/phlox_library.cpp)
target_link_libraries(phlox PRIVATE -Wl,--whole-archive phlox_capi phlox_capi_rt -Wl,--no-whole-archive)
target_link_options(phlox PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/phlox.map -Wl,--no-undefined -Wl,--gc-sections)
target_include_directories(phlox INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                           $<INSTALL_INTERFACE:include>)
set_target_properties(phlox PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/phlox.map VERSION ${PROJECT_VERSION}
                                       SOVERSION ${PROJECT_VERSION_MAJOR} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib EXPORT_NAME c)

set_property(TARGET phlox PROPERTY INTERFACE_LINK_LIBRARIES "")  # all that it needs is inside

# libphlox_rt.so: the runtime alone, for programs that were compiled before: tensors, files, devices, and no compiler. A
# process loads one of the two.
add_library(phlox_rt SHARED ${PROJECT_BINARY_DIR}/phlox_library.cpp)
target_link_libraries(phlox_rt PRIVATE -Wl,--whole-archive phlox_capi_rt -Wl,--no-whole-archive)
target_link_options(phlox_rt PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/phlox.map -Wl,--no-undefined -Wl,--gc-sections)
target_include_directories(phlox_rt INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
set_target_properties(phlox_rt PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/phlox.map VERSION ${PROJECT_VERSION}
                                          SOVERSION ${PROJECT_VERSION_MAJOR} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib EXPORT_NAME rt)
set_property(TARGET phlox_rt PROPERTY INTERFACE_LINK_LIBRARIES "")
add_library(phlox::rt ALIAS phlox_rt)

# The C++ headers over it.
add_library(phlox_cpp INTERFACE)
target_link_libraries(phlox_cpp INTERFACE phlox)
target_compile_features(phlox_cpp INTERFACE cxx_std_20)
set_target_properties(phlox_cpp PROPERTIES EXPORT_NAME phlox)
add_library(phlox::phlox ALIAS phlox_cpp)
add_library(phlox::c ALIAS phlox)
