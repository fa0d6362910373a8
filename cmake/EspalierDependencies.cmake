# Foreign libraries. Their Debian 12 packages: jobscripts/install-dependencies.sh --list libraries.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(MPI REQUIRED COMPONENTS C)  # the C interface; the C++ bindings were withdrawn in MPI-3
add_compile_definitions(OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)  # mpi.h would pull in the C++ bindings
find_package(fmt REQUIRED)
find_package(dnnl REQUIRED)
find_package(ZLIB REQUIRED)
find_package(BZip2 REQUIRED)
find_package(LibLZMA REQUIRED)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-openmpi)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(SIMDJSON REQUIRED IMPORTED_TARGET simdjson)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
find_path(LBFGS_INCLUDE_DIR lbfgs.h REQUIRED)  # it has no pkg-config file
find_library(LBFGS_LIBRARY lbfgs REQUIRED)
# Header-only: toml++ (io), nlohmann-json (io, tokenizer), CLI11 (main), Catch2 (tests).
find_path(TOMLPLUSPLUS_INCLUDE_DIR toml++/toml.h REQUIRED)
find_path(NLOHMANN_JSON_INCLUDE_DIR nlohmann/json.hpp REQUIRED)
find_path(CLI11_INCLUDE_DIR CLI/CLI.hpp REQUIRED)

include(EspalierKokkos)
