#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace espalier::fuzz {

/// What a reader owes to bad bytes: to accept them or to throw Error that blames the input. Any
/// other exception, and Error (internal), is a fault.
template <class Read>
int must_accept_or_refuse(Read&& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.status() == ExitStatus::internal) {
      std::fprintf(stderr, "internal error: %s\n", error.what());
      std::abort();
    }
    if (std::string_view(error.what()).empty()) std::abort();
  }
  return 0;
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The bytes as a file in memory, for readers that open a path.
inline std::filesystem::path as_file(const std::uint8_t* data, std::size_t size, const char* name) {
  static const std::string folder = std::filesystem::is_directory("/dev/shm")
                                        ? std::string("/dev/shm")
                                        : std::filesystem::temp_directory_path().string();
  const std::filesystem::path path =
      folder + "/espalier-fuzz-" + std::to_string(::getpid()) + "-" + name;
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr || (size > 0 && std::fwrite(data, 1, size, file) != size)) std::abort();
  std::fclose(file);
  return path;
}

}  // namespace espalier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
