# Kokkos >= 3.4 runs the host loops (src/base is the only room that includes it). An installed one
# is taken when CMake finds it with the OpenMP backend; otherwise version 3.4.01 is built from the
# sources that the PyPI source distribution of pykokkos-base carries, because Debian's package has
# no OpenMP and a broken CMake file.
find_package(Kokkos 3.4 QUIET COMPONENTS OPENMP)
if(NOT Kokkos_FOUND)
  set(kokkos_archive_sha256 6339daced1e81a2748f381847d8717cd77d824407da3c263b9491b5630c642b0)
  set(kokkos_root "${CMAKE_SOURCE_DIR}/build/_kokkos" CACHE PATH
      "Where the Kokkos sources are kept; shared by all presets")
  set(kokkos_archive "${kokkos_root}/pykokkos-base-0.0.7.tar.gz")
  set(kokkos_source "${kokkos_root}/pykokkos-base-0.0.7/external/kokkos")
  if(NOT EXISTS "${kokkos_source}/CMakeLists.txt")
    file(MAKE_DIRECTORY "${kokkos_root}")
    if(NOT EXISTS "${kokkos_archive}")
      find_package(Python3 REQUIRED COMPONENTS Interpreter)
      message(STATUS "Kokkos not found: fetching its sources from PyPI (pykokkos-base 0.0.7)")
      execute_process(
        COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps
                --no-binary pykokkos-base pykokkos-base==0.0.7
        WORKING_DIRECTORY "${kokkos_root}" RESULT_VARIABLE kokkos_status
        ERROR_VARIABLE kokkos_error)
      if(NOT kokkos_status EQUAL 0)
        message(FATAL_ERROR "Could not fetch Kokkos. Install Kokkos >= 3.4 with OpenMP and set "
                            "Kokkos_ROOT, or make PyPI reachable.\n${kokkos_error}")
      endif()
    endif()
    file(SHA256 "${kokkos_archive}" kokkos_found_sha256)
    if(NOT kokkos_found_sha256 STREQUAL kokkos_archive_sha256)
      message(FATAL_ERROR "${kokkos_archive}: sha256 is ${kokkos_found_sha256}, "
                          "expected ${kokkos_archive_sha256}. Remove the file and configure again.")
    endif()
    file(ARCHIVE_EXTRACT INPUT "${kokkos_archive}" DESTINATION "${kokkos_root}"
         PATTERNS "*/external/kokkos/*")
  endif()
  set(Kokkos_ENABLE_OPENMP ON CACHE BOOL "" FORCE)
  set(Kokkos_ENABLE_SERIAL ON CACHE BOOL "" FORCE)
  set(Kokkos_ENABLE_TESTS OFF CACHE BOOL "" FORCE)
  set(Kokkos_ENABLE_EXAMPLES OFF CACHE BOOL "" FORCE)
  set(Kokkos_CXX_STANDARD 17 CACHE STRING "" FORCE)
  set(espalier_cxx_standard ${CMAKE_CXX_STANDARD})
  set(CMAKE_CXX_STANDARD 17)
  add_subdirectory("${kokkos_source}" "${CMAKE_BINARY_DIR}/_kokkos_build" EXCLUDE_FROM_ALL SYSTEM)
  set(CMAKE_CXX_STANDARD ${espalier_cxx_standard})
endif()
