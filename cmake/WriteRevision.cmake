# cmake -DSOURCE=<repository> -DOUTPUT=<header> -P WriteRevision.cmake
# Writes the git revision, with -dirty when files are changed, into a header; "unknown" outside a
# repository. An unchanged revision leaves the file's time alone.
execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --tags --abbrev=10
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT [[
#pragma once
namespace espalier::commands {
constexpr const char* kRevision = "@revision@";
}
]])
