# espalier_cuda_architectures(<variable> <architecture>...)
# The architectures that kernels are compiled for, each once, in the order given: what nvcc writes
# as sm_<architecture>. 90 is taken as 90a, because Hopper's attention needs instructions that only
# 90a has; no kernel uses what is special to another architecture. Anything else than a number,
# perhaps with "a" or "f" behind it, is refused.
function(espalier_cuda_architectures variable)
  set(result "")
  foreach(architecture IN LISTS ARGN)
    if(NOT architecture MATCHES "^[1-9][0-9]+[af]?$")
      message(FATAL_ERROR "ESPALIER_CUDA_ARCHITECTURES: \"${architecture}\" is no architecture; "
                          "write compute capabilities without the point, as \"80;90a;100\"")
    endif()
    if(architecture STREQUAL "90")
      set(architecture 90a)
      message(STATUS "CUDA architecture 90 is compiled as 90a: attention on Hopper needs its "
                     "wgmma")
    endif()
    list(APPEND result ${architecture})
  endforeach()
  list(REMOVE_DUPLICATES result)
  if(result STREQUAL "")
    message(FATAL_ERROR "ESPALIER_CUDA_ARCHITECTURES names no architecture; 90a is Hopper")
  endif()
  set(${variable} ${result} PARENT_SCOPE)
endfunction()
