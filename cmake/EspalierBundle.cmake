# espalier_bundle(<program>...): the target `bundle`, one folder that runs these programs on another
# machine (cmake/make_bundle.py).
function(espalier_bundle)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(files "")
  foreach(program IN LISTS ARGN)
    list(APPEND files $<TARGET_FILE:${program}>)
  endforeach()
  add_custom_target(bundle
    COMMAND ${Python3_EXECUTABLE} -B "${CMAKE_SOURCE_DIR}/cmake/make_bundle.py"
            "${CMAKE_BINARY_DIR}/bundle" "${CMAKE_SOURCE_DIR}" "${ESPALIER_MPIRUN}" ${files}
    DEPENDS ${ARGN} VERBATIM
    COMMENT "Gathering ${CMAKE_BINARY_DIR}/bundle")
endfunction()
