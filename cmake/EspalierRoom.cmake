# espalier_room(<name> SOURCES <file>... [DOORS <room>...] [LIBRARIES <target>...])
# One static library per room. DOORS are the rooms it may include; LIBRARIES are foreign and
# private.
function(espalier_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;DOORS;LIBRARIES" ${ARGN})
  add_library(espalier_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(espalier_${name} PUBLIC
    "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/src")
  foreach(door IN LISTS ROOM_DOORS)
    target_link_libraries(espalier_${name} PUBLIC espalier_${door})
  endforeach()
  target_link_libraries(espalier_${name} PRIVATE espalier_flags ${ROOM_LIBRARIES})
endfunction()
