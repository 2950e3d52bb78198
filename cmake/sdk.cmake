# edge_sdk: the C library, shared and static, with its headers, CMake package and pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# What the C library has over edge_core: the bundle reader and the example set.
add_library(
  edge_bundle STATIC
  csrc/src/bundle/bundle.cpp
  csrc/src/bundle/ed25519.cpp
  csrc/src/bundle/json.cpp
  csrc/src/bundle/manifest.cpp
  csrc/src/bundle/place.cpp
  csrc/src/bundle/sha256.cpp
  csrc/src/bundle/sha512.cpp
  csrc/src/bundle/utf8.cpp
  csrc/src/example_set.cpp
)
target_include_directories(edge_bundle PUBLIC csrc/include PRIVATE csrc/src)
target_link_libraries(edge_bundle PUBLIC edge_core PRIVATE edge_flags)

add_library(
  edge_capi OBJECT csrc/src/capi/boundary.cpp csrc/src/capi/engine_api.cpp
                   csrc/src/capi/find_runtime.cpp csrc/src/capi/state_api.cpp
)
target_include_directories(edge_capi PRIVATE csrc/include csrc/src)
target_compile_definitions(edge_capi PRIVATE EDGE_SDK_VERSION="${PROJECT_VERSION}")
target_link_libraries(edge_capi PRIVATE edge_flags)

add_library(edge_sdk SHARED $<TARGET_OBJECTS:edge_capi>)
target_link_libraries(edge_sdk PRIVATE edge_bundle edge_core edge_flags)
set_target_properties(
  edge_sdk PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE
                                                                                    CXX
)
if(UNIX AND NOT APPLE)
  # -fvisibility=hidden does not hide what the standard library instantiates; the linker can.
  set(EDGE_EXPORTS ${PROJECT_SOURCE_DIR}/cmake/exports.map)
  target_link_options(edge_sdk PRIVATE LINKER:--version-script=${EDGE_EXPORTS} LINKER:--no-undefined
                      LINKER:--gc-sections)
  set_target_properties(edge_sdk PROPERTIES LINK_DEPENDS ${EDGE_EXPORTS})
endif()
if(EDGE_SANITIZE)
  # Sanitizers leave symbols to the executable.
  target_link_options(edge_sdk PRIVATE LINKER:-z,undefs)
endif()

add_library(
  edge_sdk_static STATIC $<TARGET_OBJECTS:edge_capi> $<TARGET_OBJECTS:edge_bundle>
                         $<TARGET_OBJECTS:edge_core>
)
set_target_properties(edge_sdk_static PROPERTIES OUTPUT_NAME edge_sdk EXPORT_NAME static
                                                 LINKER_LANGUAGE CXX)
target_link_libraries(edge_sdk_static INTERFACE ${CMAKE_DL_LIBS})

foreach(library edge_sdk edge_sdk_static)
  target_include_directories(
    ${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/csrc/include>
                         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  )
endforeach()
add_library(edge_sdk::edge_sdk ALIAS edge_sdk)
add_library(edge_sdk::static ALIAS edge_sdk_static)

# --- package -------------------------------------------------------------------------------------

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/edge_sdk)
install(
  TARGETS edge_sdk edge_sdk_static
  EXPORT edge_sdkTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
)
install(FILES csrc/include/edge_sdk.h csrc/include/edge_sdk.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT edge_sdkTargets NAMESPACE edge_sdk:: DESTINATION ${package_dir})

configure_package_config_file(
  cmake/edge_sdkConfig.cmake.in ${PROJECT_BINARY_DIR}/edge_sdkConfig.cmake
  INSTALL_DESTINATION ${package_dir}
)
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/edge_sdkConfigVersion.cmake COMPATIBILITY SameMinorVersion
)
install(FILES ${PROJECT_BINARY_DIR}/edge_sdkConfig.cmake
              ${PROJECT_BINARY_DIR}/edge_sdkConfigVersion.cmake DESTINATION ${package_dir})

# The prefix is found from where the file lies, so that an installed tree may be moved.
file(RELATIVE_PATH EDGE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/edge_sdk.pc.in ${PROJECT_BINARY_DIR}/edge_sdk.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/edge_sdk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
