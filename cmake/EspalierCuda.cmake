# The CUDA compiler, by hand: CMake's own CUDA language tries to run what it compiles, and the log
# of each file's registers and spills is wanted (tests/unit/kernels_cuda/check_registers.py).
set(ESPALIER_CUDA AUTO CACHE STRING "Compile the CUDA kernels: ON, OFF, or AUTO where nvcc is")
set_property(CACHE ESPALIER_CUDA PROPERTY STRINGS AUTO ON OFF)
set(ESPALIER_CUDA_ARCHITECTURES "80;90a;100;120" CACHE STRING
    "Architectures: 80 A100, A6000 and L40; 90a Hopper; 100 B200 and B300; 120 RTX")

include(EspalierCudaArchitectures)
espalier_cuda_architectures(espalier_cuda_architectures_used ${ESPALIER_CUDA_ARCHITECTURES})

set(ESPALIER_HAS_CUDA OFF)
if(NOT ESPALIER_CUDA STREQUAL "OFF")
  find_program(ESPALIER_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda
               PATH_SUFFIXES bin)
  if(ESPALIER_NVCC)
    get_filename_component(cuda_root "${ESPALIER_NVCC}" DIRECTORY)
    get_filename_component(cuda_root "${cuda_root}" DIRECTORY)
    find_library(ESPALIER_CUDART cudart_static HINTS "${cuda_root}"
                 PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib targets/sbsa-linux/lib)
    find_path(ESPALIER_CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS "${cuda_root}/include"
              "${cuda_root}/targets/x86_64-linux/include")
  endif()
  set(nvcc_version 0)
  if(ESPALIER_NVCC)
    execute_process(COMMAND "${ESPALIER_NVCC}" --version OUTPUT_VARIABLE nvcc_version)
    string(REGEX MATCH "release ([0-9.]+)" nvcc_version "${nvcc_version}")
    set(nvcc_version "${CMAKE_MATCH_1}")
  endif()
  if(ESPALIER_NVCC AND nvcc_version VERSION_LESS 13.0)
    if(ESPALIER_CUDA STREQUAL "ON")
      message(FATAL_ERROR "ESPALIER_CUDA is ON, but ${ESPALIER_NVCC} is of version "
                          "${nvcc_version}, 13.0 is needed. Set ESPALIER_NVCC or CUDA_HOME.")
    endif()
    message(STATUS "CUDA kernels: ${ESPALIER_NVCC} is of version ${nvcc_version}, 13.0 is needed")
  elseif(ESPALIER_NVCC AND ESPALIER_CUDART AND EXISTS "${ESPALIER_CUDA_INCLUDE_DIR}/cublasLt.h")
    set(ESPALIER_HAS_CUDA ON)
  elseif(ESPALIER_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ESPALIER_CUDA is ON, but nvcc, cuda_runtime_api.h, cublasLt.h or "
                        "libcudart_static.a is not found. Set ESPALIER_NVCC to the compiler's "
                        "path or CUDA_HOME, or ESPALIER_CUDA to OFF.")
  endif()
endif()
if(ESPALIER_HAS_CUDA)
  message(STATUS "CUDA kernels: ${ESPALIER_NVCC} for ${espalier_cuda_architectures_used}")
  # The runtime is linked statically, so that the program starts on machines without CUDA. It loads
  # the driver itself; cuBLASLt, NCCL and cuDNN are loaded when they are first needed.
  add_library(espalier_cuda INTERFACE)
  target_include_directories(espalier_cuda SYSTEM INTERFACE "${ESPALIER_CUDA_INCLUDE_DIR}")
  target_link_libraries(espalier_cuda INTERFACE "${ESPALIER_CUDART}" Threads::Threads
                        ${CMAKE_DL_LIBS} rt)
  target_compile_definitions(espalier_cuda INTERFACE ESPALIER_HAS_CUDA)
else()
  message(STATUS "CUDA kernels: only emulated on the host (ESPALIER_CUDA is ${ESPALIER_CUDA}, "
                 "nvcc is not used)")
endif()

# Reads the kernels' machine code in a test; nvdisasm lies beside it. Not every toolkit has them:
# jobscripts/fetch-cuda-disassembler.sh puts them where they are looked for last.
if(ESPALIER_HAS_CUDA)
  find_program(ESPALIER_CUOBJDUMP cuobjdump HINTS "${cuda_root}/bin"
               PATHS "${CMAKE_SOURCE_DIR}/build/_cuda_disassembler/nvidia/cu13/bin")
  if(NOT ESPALIER_CUOBJDUMP)
    message(STATUS "cuobjdump is not found: the kernels' machine code will not be tested; run "
                   "jobscripts/fetch-cuda-disassembler.sh or set ESPALIER_CUOBJDUMP")
  endif()
endif()

# Attention by cuDNN needs cudnn.h and the headers of cudnn-frontend, which come apart from it:
# jobscripts/fetch-cudnn-frontend.sh puts them where they are looked for last.
set(ESPALIER_CUDNN AUTO CACHE STRING
    "Attention by cuDNN: ON, OFF, or AUTO where cudnn.h and cudnn_frontend.h are")
set_property(CACHE ESPALIER_CUDNN PROPERTY STRINGS AUTO ON OFF)
set(espalier_oldest_cudnn_frontend 1.22)  # plans for a device without asking the current one
set(ESPALIER_HAS_CUDNN OFF)
if(ESPALIER_CUDNN STREQUAL "OFF")
  set(why_no_cudnn "ESPALIER_CUDNN is OFF")
elseif(NOT ESPALIER_HAS_CUDA)
  set(why_no_cudnn "there are no CUDA kernels")
else()
  find_path(ESPALIER_CUDNN_INCLUDE_DIR cudnn_graph.h
            HINTS "${ESPALIER_CUDA_INCLUDE_DIR}" ENV CUDNN_HOME ENV CUDNN_PATH
            PATH_SUFFIXES include)
  find_path(ESPALIER_CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
            HINTS "${ESPALIER_CUDA_INCLUDE_DIR}" ENV CUDNN_FRONTEND_HOME
            PATHS "${CMAKE_SOURCE_DIR}/build/_cudnn_frontend" PATH_SUFFIXES include)
  set(version_header "${ESPALIER_CUDNN_FRONTEND_INCLUDE_DIR}/cudnn_frontend_version.h")
  if(NOT ESPALIER_CUDNN_INCLUDE_DIR)
    set(why_no_cudnn "cudnn_graph.h (cuDNN 9) is not found; set ESPALIER_CUDNN_INCLUDE_DIR")
  elseif(NOT EXISTS "${version_header}")
    string(CONCAT why_no_cudnn "cudnn_frontend.h (cudnn-frontend) is not found; run "
           "jobscripts/fetch-cudnn-frontend.sh or set ESPALIER_CUDNN_FRONTEND_INCLUDE_DIR")
  else()
    file(STRINGS "${version_header}" version_lines
         REGEX "define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION")
    string(REGEX REPLACE "[^0-9;]" "" frontend_version "${version_lines}")
    string(REPLACE ";" "." frontend_version "${frontend_version}")
    if(frontend_version VERSION_LESS espalier_oldest_cudnn_frontend)
      string(CONCAT why_no_cudnn "cudnn-frontend is ${frontend_version}, but "
             "${espalier_oldest_cudnn_frontend} is the oldest that will do; set "
             "ESPALIER_CUDNN_FRONTEND_INCLUDE_DIR")
    else()
      set(ESPALIER_HAS_CUDNN ON)
    endif()
  endif()
endif()
if(ESPALIER_HAS_CUDNN)
  message(STATUS "cuDNN: ${ESPALIER_CUDNN_INCLUDE_DIR}/cudnn.h, cudnn-frontend "
                 "${frontend_version}")
elseif(ESPALIER_CUDNN STREQUAL "ON")
  message(FATAL_ERROR "ESPALIER_CUDNN is ON, but ${why_no_cudnn}. OFF does without it.")
else()
  message(STATUS "cuDNN: attention by it is left out: ${why_no_cudnn}")
endif()

# -arch=sm_90a would add a pass for plain sm_90, which has no wgmma. fmt 9 turns its constexpr off
# for nvcc and then does not compile as C++20. Warning 554 is about BasicView's conversion to
# itself. Kernels are in every test program of the bundle: compressed they take a third.
set(espalier_nvcc_flags
  -std=c++20 -O3 --expt-relaxed-constexpr -Xptxas -v --compress-mode=size
  -DFMT_USE_CONSTEXPR=1 -DFMT_CONSTEVAL=
  -diag-suppress 554 -Xcompiler -Wall,-Wextra,-Wno-unknown-pragmas)
if(ESPALIER_WARNINGS_AS_ERRORS)
  list(APPEND espalier_nvcc_flags -Werror all-warnings -Xcompiler -Werror)
endif()
foreach(architecture IN LISTS espalier_cuda_architectures_used)
  list(APPEND espalier_nvcc_flags
       -gencode arch=compute_${architecture},code=sm_${architecture})
endforeach()

# espalier_cuda_objects(<variable> <file.cu>...)
# Compiles .cu files of this folder and lists their objects. What ptxas says about each file is kept
# as <file.cu>.ptxas beside its object.
function(espalier_cuda_objects variable)
  set(compile ${ESPALIER_LAUNCHER} ${ESPALIER_NVCC})
  set(objects "")
  foreach(source IN LISTS ARGN)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${source}.o")
    set(log "${CMAKE_CURRENT_BINARY_DIR}/${source}.ptxas")
    add_custom_command(OUTPUT "${object}"
      COMMAND sh "${CMAKE_SOURCE_DIR}/cmake/compile_with_log.sh" "${log}"
              ${compile} ${espalier_nvcc_flags} -DESPALIER_GPU=cuda -I "${CMAKE_SOURCE_DIR}"
              -I "${CMAKE_SOURCE_DIR}/src" -MD -MF "${object}.d" -MT "${object}"
              -c "${CMAKE_CURRENT_SOURCE_DIR}/${source}" -o "${object}"
      DEPENDS "${source}" DEPFILE "${object}.d" COMMENT "nvcc ${source}" VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()
