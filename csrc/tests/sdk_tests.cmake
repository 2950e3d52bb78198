# Tests of what the C library has over the core.
foreach(name ed25519_test sha256_test json_test example_set_test)
  edge_test(${name} SOURCES main.cpp)
  target_link_libraries(${name} PRIVATE edge_bundle)
endforeach()

# Links the shared library, so only what it exports can be used; error.cpp is for the harness.
foreach(name capi_test capi_kinds_test stress_test)
  edge_test(${name} RUNTIME SOURCES main.cpp)
  target_link_libraries(${name} PRIVATE edge_sdk)
  target_compile_definitions(
    ${name} PRIVATE EDGE_TEST_GOLDEN="${PROJECT_SOURCE_DIR}/tests/golden/bundle_format_1"
  )
endforeach()
