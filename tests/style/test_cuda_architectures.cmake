# cmake -P: what cmake/EspalierCudaArchitectures.cmake makes of the architectures asked for.
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/EspalierCudaArchitectures.cmake")

function(check asked expected)
  espalier_cuda_architectures(got ${asked})
  if(NOT got STREQUAL expected)
    message(FATAL_ERROR "\"${asked}\" became \"${got}\", expected \"${expected}\"")
  endif()
endfunction()
check("90" "90a")
check("80;90;90a;100" "80;90a;100")
check("90a;100a" "90a;100a")
check("100f;120" "100f;120")

foreach(wrong sm_90 9.0 90b)
  execute_process(COMMAND "${CMAKE_COMMAND}" -Dwrong=${wrong} -P
                          "${CMAKE_CURRENT_LIST_DIR}/refused_cuda_architecture.cmake"
                  RESULT_VARIABLE status ERROR_VARIABLE text)
  if(status EQUAL 0 OR NOT text MATCHES "ESPALIER_CUDA_ARCHITECTURES")
    message(FATAL_ERROR "${wrong} is not refused: ${text}")
  endif()
endforeach()
