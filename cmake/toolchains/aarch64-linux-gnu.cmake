# For Arm (aarch64, NEON) on another Debian machine: its cross-compiler, the arm64 libraries that
# tests/arm/run.sh unpacks into ESPALIER_SYSROOT, and qemu-user to run what is built.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
set(CMAKE_C_COMPILER ${triple}-gcc)
set(CMAKE_CXX_COMPILER ${triple}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${triple})

get_filename_component(sysroot "${CMAKE_CURRENT_LIST_DIR}/../../build-arm/sysroot" ABSOLUTE)
set(ESPALIER_SYSROOT "${sysroot}" CACHE PATH "An arm64 Debian's files")
set(ESPALIER_ARM_CPU neoverse-n1 CACHE STRING "The processor that qemu imitates (-cpu)")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ESPALIER_SYSROOT ESPALIER_ARM_CPU)
set(CMAKE_SYSROOT "${ESPALIER_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${ESPALIER_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
    "${ESPALIER_SYSROOT}/usr/lib/${triple}/pkgconfig:${ESPALIER_SYSROOT}/usr/share/pkgconfig")

# CMake would ask the mpicc of this machine, which names its own libraries.
set(MPI_C_LIB_NAMES mpi CACHE STRING "")
set(MPI_C_HEADER_DIR "${ESPALIER_SYSROOT}/usr/lib/${triple}/openmpi/include" CACHE PATH "")
set(MPI_mpi_LIBRARY "${ESPALIER_SYSROOT}/usr/lib/${triple}/libmpi.so.40" CACHE FILEPATH "")

set(CMAKE_CROSSCOMPILING_EMULATOR
    qemu-aarch64-static -cpu "${ESPALIER_ARM_CPU}" -L "${ESPALIER_SYSROOT}")
