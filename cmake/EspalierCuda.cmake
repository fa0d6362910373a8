# The CUDA compiler, by hand: CMake's own CUDA language tries to run what it compiles, and the log
# of each file's registers and spills is wanted (tests/unit/kernels_cuda/check_registers.py).
set(ESPALIER_CUDA AUTO CACHE STRING "Compile the CUDA kernels: ON, OFF, or AUTO where nvcc is")
set_property(CACHE ESPALIER_CUDA PROPERTY STRINGS AUTO ON OFF)
set(ESPALIER_CUDA_ARCHITECTURES "90a;100a" CACHE STRING
    "Architectures: 90a is Hopper, 100a B200; for mma.sync kernels also 80 and 120")

set(ESPALIER_HAS_CUDA OFF)
if(NOT ESPALIER_CUDA STREQUAL "OFF")
  find_program(ESPALIER_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda
               PATH_SUFFIXES bin)
  if(ESPALIER_NVCC)
    set(ESPALIER_HAS_CUDA ON)
  elseif(ESPALIER_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ESPALIER_CUDA is ON, but nvcc is not found. Set ESPALIER_NVCC to its path "
                        "or CUDA_HOME, or ESPALIER_CUDA to OFF.")
  endif()
endif()
if(ESPALIER_HAS_CUDA)
  message(STATUS "CUDA kernels: ${ESPALIER_NVCC} for ${ESPALIER_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA kernels: only emulated on the host (ESPALIER_CUDA is ${ESPALIER_CUDA}, "
                 "nvcc is not used)")
endif()

# -arch=sm_90a would add a pass for plain sm_90, which has no wgmma. fmt 9 turns its constexpr off
# for nvcc and then does not compile as C++20. Warning 554 is about BasicView's conversion to
# itself.
set(espalier_nvcc_flags
  -std=c++20 -O3 --expt-relaxed-constexpr -Xptxas -v
  -DFMT_USE_CONSTEXPR=1 -DFMT_CONSTEVAL=
  -diag-suppress 554 -Xcompiler -Wall,-Wextra,-Wno-unknown-pragmas)
if(ESPALIER_WARNINGS_AS_ERRORS)
  list(APPEND espalier_nvcc_flags -Werror all-warnings -Xcompiler -Werror)
endif()
foreach(architecture IN LISTS ESPALIER_CUDA_ARCHITECTURES)
  list(APPEND espalier_nvcc_flags
       -gencode arch=compute_${architecture},code=sm_${architecture})
endforeach()

# espalier_cuda_library(<target> SOURCES <file.cu>... LIBRARIES <target>...)
# A static library of .cu files, whose headers are those of LIBRARIES. What ptxas says about each
# file is kept as <file.cu>.ptxas beside its object.
function(espalier_cuda_library target)
  cmake_parse_arguments(CUDA "" "" "SOURCES;LIBRARIES" ${ARGN})
  set(compile ${ESPALIER_NVCC})
  if(ESPALIER_CCACHE)
    set(compile ${ESPALIER_CCACHE} ${ESPALIER_NVCC})
  endif()
  set(objects "")
  foreach(source IN LISTS CUDA_SOURCES)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${source}.o")
    set(log "${CMAKE_CURRENT_BINARY_DIR}/${source}.ptxas")
    add_custom_command(OUTPUT "${object}"
      COMMAND sh "${CMAKE_SOURCE_DIR}/cmake/compile_with_log.sh" "${log}"
              ${compile} ${espalier_nvcc_flags} -I "${CMAKE_SOURCE_DIR}"
              -I "${CMAKE_SOURCE_DIR}/src" -MD -MF "${object}.d" -MT "${object}"
              -c "${CMAKE_CURRENT_SOURCE_DIR}/${source}" -o "${object}"
      DEPENDS "${source}" DEPFILE "${object}.d" COMMENT "nvcc ${source}" VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  add_library(${target} STATIC ${objects})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${target} PUBLIC ${CUDA_LIBRARIES})
endfunction()
