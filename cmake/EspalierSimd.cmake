# espalier_simd_sources(<target> <file>...)
# Adds each file once per SIMD level that the architecture has, compiled for that level by
# src/base/simd/target.hpp. Levels and their order are those of src/base/simd/level.hpp.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(ESPALIER_SIMD_LEVELS portable avx2 avx512 avx512_bf16)
else()
  set(ESPALIER_SIMD_LEVELS portable)
endif()

function(espalier_simd_sources target)
  set(number 0)
  foreach(level IN LISTS ESPALIER_SIMD_LEVELS)
    add_library(${target}_${level} OBJECT ${ARGN})
    target_compile_definitions(${target}_${level} PRIVATE
      ESPALIER_SIMD=${level} ESPALIER_SIMD_NUMBER=${number}
      $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
    target_include_directories(${target}_${level} PRIVATE
      $<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>)
    target_link_libraries(${target}_${level} PRIVATE espalier_flags fmt::fmt)
    # Vectors are passed in registers or in memory, depending on the level. That differs between
    # compilers, and matters only between objects of different ones.
    target_compile_options(${target}_${level} PRIVATE -Wno-psabi)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${level}>)
    math(EXPR number "${number} + 1")
  endforeach()
endfunction()
