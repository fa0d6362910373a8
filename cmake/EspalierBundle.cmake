# espalier_bundle(<program>...): the target `bundle`, one folder that runs these programs on another
# machine (cmake/make_bundle.py), and a test that makes it, because it must not grow past its limit.
function(espalier_bundle)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(files "")
  foreach(program IN LISTS ARGN)
    list(APPEND files $<TARGET_FILE:${program}>)
  endforeach()
  set(make_bundle ${Python3_EXECUTABLE} -B "${CMAKE_SOURCE_DIR}/cmake/make_bundle.py"
                  "${CMAKE_BINARY_DIR}/bundle" "${CMAKE_SOURCE_DIR}" "${ESPALIER_MPIRUN}" ${files})
  add_custom_target(bundle COMMAND ${make_bundle} DEPENDS ${ARGN} VERBATIM
                    COMMENT "Gathering ${CMAKE_BINARY_DIR}/bundle")
  add_test(NAME bundle COMMAND ${make_bundle})
  espalier_test_properties(bundle unit 1)
endfunction()
