# cmake -Dwrong=... -P: must end with an error.
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/EspalierCudaArchitectures.cmake")
espalier_cuda_architectures(architectures ${wrong})
