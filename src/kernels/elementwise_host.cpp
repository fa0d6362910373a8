#include "kernels/elementwise.hpp"

#include <cstring>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

/// Elements per part of a long row: enough to outweigh the call, few enough to share among threads.
constexpr std::int64_t kPart = 16384;

/// Elements whose squares are added in fp32 before the sum goes on in fp64: a gradient of 10^10
/// elements keeps its digits.
constexpr std::int64_t kRun = 256;

/// body(row, first, count) over all elements; contiguous views count as one long row, so that a
/// (1, n) vector is shared among threads as well as a matrix.
template <class Body>
void for_parts(std::int64_t rows, std::int64_t cols, bool contiguous, Body&& body) {
  if (contiguous) {
    cols = rows * cols;
    rows = cols > 0 ? 1 : 0;
  }
  const std::int64_t parts = cols > 0 ? (cols + kPart - 1) / kPart : 0;
  host_for_ranges(rows * parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % parts * kPart;
      body(i / parts, first, std::min(kPart, cols - first));
    }
  });
}

}  // namespace

void cast(device::Context&, device::View out, device::ConstView in) {
  ESPALIER_ASSERT(out.rows == in.rows && out.cols == in.cols, "out {}, in {}", describe(out),
                  describe(in));
  const bool contiguous = out.is_contiguous() && in.is_contiguous();
  dispatch(out.dtype, [&]<class To>(To) {
    dispatch(in.dtype, [&]<class From>(From) {
      for_parts(out.rows, out.cols, contiguous,
                [&](std::int64_t row, std::int64_t first, std::int64_t count) {
                  To* to = out.as<To>(row) + first;
                  const From* from = in.as<From>(row) + first;
                  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
                    simd::store(to + c, simd::load(from + c, lanes), lanes);
                  });
                });
    });
  });
}

void residual_add(device::Context&, const ResidualAdd& a) {
  for (const device::ConstView& in : {a.x, a.delta})
    ESPALIER_ASSERT(in.rows == a.out.rows && in.cols == a.out.cols && in.dtype == a.out.dtype,
                    "in {}, out {}", describe(in), describe(a.out));
  const bool contiguous = a.out.is_contiguous() && a.x.is_contiguous() && a.delta.is_contiguous();
  dispatch(a.out.dtype, [&]<class T>(T) {
    for_parts(a.out.rows, a.out.cols, contiguous,
              [&](std::int64_t row, std::int64_t first, std::int64_t count) {
                T* out = a.out.as<T>(row) + first;
                const T* x = a.x.as<T>(row) + first;
                const T* delta = a.delta.as<T>(row) + first;
                simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
                  simd::store(out + c, simd::load(x + c, lanes) + simd::load(delta + c, lanes),
                              lanes);
                });
              });
  });
}

void set_zero(device::Context&, device::View out) {
  const auto size = static_cast<std::int64_t>(size_of(out.dtype));
  for_parts(out.rows, out.cols, out.is_contiguous(),
            [&](std::int64_t row, std::int64_t first, std::int64_t count) {
              std::memset(static_cast<char*>(out.data) + (row * out.stride + first) * size, 0,
                          static_cast<std::size_t>(count * size));
            });
}

namespace {

double sum_of_squares(const device::ConstView& in) {
  const bool contiguous = in.is_contiguous();
  const std::int64_t cols = contiguous ? in.size() : in.cols;
  const std::int64_t rows = contiguous ? 1 : in.rows;
  if (in.size() == 0) return 0.0;
  const auto sum_of_part = [](const float* p, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t first = 0; first < count; first += kRun) {
      simd::Floats squares{};
      simd::for_lanes(std::min(kRun, count - first), [&](std::int64_t c, auto lanes) {
        const simd::Floats x = simd::load(p + first + c, lanes);
        squares = simd::fma(x, x, squares);
      });
      sum += static_cast<double>(simd::sum(squares));
    }
    return sum;
  };
  const std::int64_t parts = (cols + kPart - 1) / kPart;
  return host_sum(rows * parts, 1, [&](std::int64_t i, std::int64_t) {
    const std::int64_t first = i % parts * kPart;
    return sum_of_part(in.as<float>(i / parts) + first, std::min(kPart, cols - first));
  });
}

}  // namespace

void sums_of_squares(device::Context&, device::View out, std::span<const device::ConstView> in) {
  for (std::size_t i = 0; i < in.size(); ++i)
    *out.as<double>(static_cast<std::int64_t>(i)) = sum_of_squares(in[i]);
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
