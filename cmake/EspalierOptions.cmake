# What a person may choose when configuring, and the flags every room is compiled with.
option(ESPALIER_BUILD_TESTS "Build the test programs" ON)
option(ESPALIER_WARNINGS_AS_ERRORS "Stop at a warning; off for compilers newer than ours" ON)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(espalier_baseline "x86-64-v2")  # SSE4.2: every processor since 2011
endif()
set(ESPALIER_MARCH "${espalier_baseline}" CACHE STRING
    "-march of all but the host operators, which are compiled for every SIMD level")
set(ESPALIER_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them (address,undefined)")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")

# Paths of the sources are taken relative to them, so that two checkouts share what was compiled.
find_program(ESPALIER_CCACHE ccache)
set(ESPALIER_LAUNCHER "")
if(ESPALIER_CCACHE)
  set(ESPALIER_LAUNCHER "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}"
                        "${ESPALIER_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ESPALIER_LAUNCHER})
endif()

add_library(espalier_flags INTERFACE)
# -fno-math-errno and -fno-trapping-math let loops vectorise and keep IEEE results; -ffast-math is
# never used: it would let the compiler assume that no NaN exists, and we look for them.
# -Wrestrict has false positives on std::string in GCC 12 (bug 105329).
target_compile_options(espalier_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wno-unknown-pragmas -Wno-restrict
  -fopenmp -fno-math-errno -fno-trapping-math)
if(ESPALIER_WARNINGS_AS_ERRORS)
  target_compile_options(espalier_flags INTERFACE -Werror)
endif()
if(ESPALIER_MARCH)
  target_compile_options(espalier_flags INTERFACE -march=${ESPALIER_MARCH})
endif()
if(ESPALIER_SANITIZE)
  add_compile_options(-fsanitize=${ESPALIER_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${ESPALIER_SANITIZE})
endif()
