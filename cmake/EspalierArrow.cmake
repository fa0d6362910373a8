# Parquet files are read through Apache Arrow's library, where there is one: what
# jobscripts/fetch-arrow.sh takes out of the pyarrow wheel, or another folder that is like it
# (include/, libarrow.so*, libparquet.so*), or an installed one that CMake finds.
set(ESPALIER_ARROW AUTO CACHE STRING "Read Parquet by Apache Arrow: ON, OFF, or AUTO where it is")
set_property(CACHE ESPALIER_ARROW PROPERTY STRINGS AUTO ON OFF)
set(ESPALIER_ARROW_ROOT "${CMAKE_SOURCE_DIR}/build/_arrow/pyarrow" CACHE PATH
    "Folder of Arrow as in the pyarrow wheel: include/, libarrow.so*, libparquet.so*")
set(ESPALIER_HAS_ARROW OFF)

# One of `name`.so, .so.1700, ...: the wheel has no link without a number.
function(espalier_find_arrow_library result name)
  file(GLOB found "${ESPALIER_ARROW_ROOT}/lib${name}.so" "${ESPALIER_ARROW_ROOT}/lib${name}.so.*"
       "${ESPALIER_ARROW_ROOT}/lib/lib${name}.so")
  set(first "")
  if(found)
    list(GET found 0 first)
  endif()
  set(${result} "${first}" PARENT_SCOPE)
endfunction()

if(ESPALIER_ARROW STREQUAL "OFF")
  set(why_no_arrow "ESPALIER_ARROW is OFF")
else()
  espalier_find_arrow_library(arrow_library arrow)
  espalier_find_arrow_library(parquet_library parquet)
  if(arrow_library AND parquet_library
     AND EXISTS "${ESPALIER_ARROW_ROOT}/include/parquet/file_reader.h")
    add_library(espalier_arrow INTERFACE IMPORTED)
    target_include_directories(espalier_arrow SYSTEM INTERFACE "${ESPALIER_ARROW_ROOT}/include")
    target_link_libraries(espalier_arrow INTERFACE "${parquet_library}" "${arrow_library}")
    set(arrow_place "${parquet_library}")
  else()
    find_package(Parquet QUIET CONFIG)
    if(TARGET Parquet::parquet_shared)
      add_library(espalier_arrow INTERFACE IMPORTED)
      target_link_libraries(espalier_arrow INTERFACE Parquet::parquet_shared Arrow::arrow_shared)
      set(arrow_place "${Parquet_DIR}")
    endif()
  endif()
  if(TARGET espalier_arrow)
    # A library of the older ABI of C++ (wheels for manylinux2014), or one that wants a newer
    # compiler, is found out here and not at the end of a long build.
    include(CheckCXXSourceCompiles)
    set(CMAKE_REQUIRED_LIBRARIES espalier_arrow)
    set(CMAKE_REQUIRED_QUIET ON)
    set(tried "ESPALIER_ARROW_LINKS_${arrow_place}")
    string(MAKE_C_IDENTIFIER "${tried}" tried)
    check_cxx_source_compiles("#include <parquet/file_reader.h>
      int main() { return parquet::ParquetFileReader::OpenFile(std::string(\"a\")) == nullptr; }"
      ${tried})
    unset(CMAKE_REQUIRED_LIBRARIES)
    unset(CMAKE_REQUIRED_QUIET)
    if(${tried})
      set(ESPALIER_HAS_ARROW ON)
    else()
      set(why_no_arrow "a program with ${arrow_place} does not compile or link")
    endif()
  else()
    string(CONCAT why_no_arrow "it is not found; run jobscripts/fetch-arrow.sh or set "
           "ESPALIER_ARROW_ROOT")
  endif()
endif()
if(ESPALIER_HAS_ARROW)
  message(STATUS "Parquet: by Apache Arrow, ${arrow_place}")
elseif(ESPALIER_ARROW STREQUAL "ON")
  message(FATAL_ERROR "ESPALIER_ARROW is ON, but ${why_no_arrow}. OFF does without it.")
else()
  message(STATUS "Parquet: Apache Arrow is not used: ${why_no_arrow}")
endif()
