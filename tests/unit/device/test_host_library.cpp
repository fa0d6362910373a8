// The library takes a limit once in a process: every case asks in a process of its own, and this
// one never touches the library.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "device/gemm.hpp"
#include "device/host_library.hpp"
#include "support/expect_error.hpp"

namespace espalier::device {
namespace {

using simd::Level;

/// The text that `ask` returns, or that of its Error, from a process with this
/// ONEDNN_MAX_CPU_ISA.
std::string answer(const char* limit, const std::function<std::string()>& ask) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    unsetenv("DNNL_MAX_CPU_ISA");
    setenv("ONEDNN_MAX_CPU_ISA", limit, 1);
    std::string text;
    try {
      text = ask();
    } catch (const Error& error) {
      text = error.what();
    }
    const bool written = write(ends[1], text.data(), text.size()) >= 0;
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[256];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  return text;
}

std::string isa_limited_to(Level level) {
  limit_host_library(level);
  return std::string(host_library_isa());
}

}  // namespace

#if defined(__x86_64__)

TEST_CASE("the library keeps below a level", "[library]") {
  // Every x86 that runs this program has at least these.
  CHECK(answer("", [] { return isa_limited_to(Level::portable); }) == "sse41");
  const std::string free = answer("", [] { return std::string(host_library_isa()); });
  CHECK(answer("", [] { return isa_limited_to(Level::avx512_bf16); }) == free);
  for (const Level level : simd::supported_levels()) {
    if (level == Level::avx2)
      CHECK(answer("", [] { return isa_limited_to(Level::avx2); }) == "avx2");
    if (level == Level::avx512)
      CHECK(answer("", [] { return isa_limited_to(Level::avx512); }) == "avx512_core");
  }
}

TEST_CASE("the lower of two limits holds, the level's or the environment's", "[library]") {
  CHECK(answer("SSE41", [] { return isa_limited_to(Level::avx2); }) == "sse41");
  CHECK(answer("sse41", [] { return isa_limited_to(Level::avx512_bf16); }) == "sse41");
  CHECK(answer("AVX512_CORE", [] { return isa_limited_to(Level::portable); }) == "sse41");
  CHECK(answer("no such instructions", [] { return isa_limited_to(Level::portable); }) == "sse41");
  // The older name of the variable counts where the newer is not set.
  CHECK(answer("", [] {
          setenv("DNNL_MAX_CPU_ISA", "SSE41", 1);
          return isa_limited_to(Level::avx2);
        }) == "sse41");
}

TEST_CASE("a second limit must be the first one again", "[library]") {
  CHECK(answer("", [] {
          limit_host_library(Level::portable);
          return isa_limited_to(Level::portable);
        }) == "sse41");
  testing::expect_words(answer("",
                               [] {
                                 limit_host_library(Level::portable);
                                 return isa_limited_to(Level::avx2);
                               }),
                        {"portable", "avx2"});
}

TEST_CASE("a library that is in use above the level refuses", "[library]") {
  const std::string free = answer("", [] { return std::string(host_library_isa()); });
  const std::string late = answer("", [] {
    (void)host_library_isa();
    return isa_limited_to(Level::portable);
  });
  if (free == "sse41")
    CHECK(late == free);
  else
    testing::expect_words(late, {free.c_str(), "portable"});
  // And one that is not does not.
  CHECK(answer("SSE41", [] {
          (void)host_library_isa();
          return isa_limited_to(Level::portable);
        }) == "sse41");
}

TEST_CASE("without products of bf16 the library's operands are widened", "[library]") {
  testing::expect_words(answer("",
                               [] {
                                 limit_host_library(Level::portable);
                                 return Gemm().describe();
                               }),
                        {"oneDNN", "sse41", "bf16 widened to fp32"});
  // Emulated, they are slower than widened ones.
  CHECK(answer("", [] {
          limit_host_library(Level::avx512);
          return std::string(host_library_multiplies_bf16() ? "own" : "widened");
        }) == "widened");
  CHECK(answer("", [] {
          limit_host_library(Level::portable);
          return std::to_string(Gemm::host_scratch_bytes(DType::bf16) -
                                Gemm::host_scratch_bytes(DType::bf16, Bf16Products::widened));
        }) == "0");
}

#else

TEST_CASE("without levels there is nothing to limit", "[library]") {
  const std::string free = answer("", [] { return std::string(host_library_isa()); });
  CHECK(answer("", [] { return isa_limited_to(Level::portable); }) == free);
}

#endif

}  // namespace espalier::device
