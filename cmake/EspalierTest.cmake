# espalier_test(<name> SOURCES <file>... LIBRARIES <target>... [RANKS <n>...] [LABEL unit|mpi|...]
#               [EVERY_SIMD_LEVEL])
# A Catch2 program. Without RANKS it runs as one process; with RANKS it is run once per count as
# <name>.ranks<n> under mpirun, holding n of the machine's processors for ctest -j. With
# EVERY_SIMD_LEVEL it runs once per level as <name>.<level>; where the processor has not the
# level, ctest says that it was skipped.
find_path(CATCH2_INCLUDE_DIR catch2/catch.hpp REQUIRED)
find_program(ESPALIER_MPIRUN NAMES mpirun REQUIRED)

# Seconds after which a test is taken to hang. Nothing is expected to be done in this time: a slow
# machine with other load may need ten times as long as an idle one.
set(ESPALIER_TEST_TIMEOUT 1800 CACHE STRING "Seconds after which a test is taken to hang")

function(espalier_test name)
  cmake_parse_arguments(TEST "EVERY_SIMD_LEVEL" "LABEL" "SOURCES;LIBRARIES;RANKS" ${ARGN})
  if(NOT TEST_LABEL)
    set(TEST_LABEL unit)
  endif()
  add_executable(${name} ${TEST_SOURCES} $<TARGET_OBJECTS:espalier_catch>)
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  target_include_directories(${name} SYSTEM PRIVATE "${CATCH2_INCLUDE_DIR}")
  target_link_libraries(${name} PRIVATE ${TEST_LIBRARIES} espalier_parallel espalier_flags)
  target_compile_definitions(${name} PRIVATE
    ESPALIER_SOURCE_DIR="${CMAKE_SOURCE_DIR}" ESPALIER_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(TEST_RANKS)
    foreach(ranks IN LISTS TEST_RANKS)
      espalier_mpi_command(command ${ranks})
      add_test(NAME ${name}.ranks${ranks} COMMAND ${command} $<TARGET_FILE:${name}>)
      espalier_test_properties(${name}.ranks${ranks} ${TEST_LABEL} ${ranks})
    endforeach()
  elseif(TEST_EVERY_SIMD_LEVEL)
    foreach(level IN LISTS ESPALIER_SIMD_LEVELS)
      add_test(NAME ${name}.${level} COMMAND ${name})
      espalier_test_properties(${name}.${level} ${TEST_LABEL} 1)
      set_property(TEST ${name}.${level} APPEND PROPERTY ENVIRONMENT ESPALIER_TEST_SIMD=${level})
      set_tests_properties(${name}.${level} PROPERTIES SKIP_RETURN_CODE 77)
    endforeach()
  else()
    add_test(NAME ${name} COMMAND ${name})
    espalier_test_properties(${name} ${TEST_LABEL} 1)
  endif()
endfunction()

# The command line that starts a program on `ranks` ranks of this machine.
function(espalier_mpi_command variable ranks)
  set(${variable} "${ESPALIER_MPIRUN}" --oversubscribe --bind-to none -n ${ranks} PARENT_SCOPE)
endfunction()

# More ranks than processors must not spin while they wait, and containers run as root.
set(espalier_test_environment
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
  OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none)

function(espalier_test_properties test label ranks)
  math(EXPR processors "${ranks}")
  if(processors GREATER 2)
    set(processors 2)
  endif()
  set_tests_properties(${test} PROPERTIES LABELS "${label}" PROCESSORS ${processors}
    TIMEOUT ${ESPALIER_TEST_TIMEOUT}
    ENVIRONMENT "${espalier_test_environment}")
endfunction()
