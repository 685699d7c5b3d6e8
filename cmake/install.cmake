# The package: find_package(phlox) gives phlox::phlox (C++ headers and the library), phlox::c (the C ABI alone) and
# phlox::rt (its runtime part, in a library without the compiler).
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/phlox)

install(TARGETS phlox phlox_rt phlox_cpp EXPORT phloxTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/phlox DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET phlox_compiler)  # found beside the library
  install(TARGETS phlox_compiler LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
file(RELATIVE_PATH to_lib /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
set_target_properties(phlox_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${to_lib}")
install(TARGETS phlox_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT phloxTargets NAMESPACE phlox:: DESTINATION ${package})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/phloxConfig.cmake.in ${PROJECT_BINARY_DIR}/phloxConfig.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/phloxConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/phloxConfig.cmake ${PROJECT_BINARY_DIR}/phloxConfigVersion.cmake DESTINATION ${package})
