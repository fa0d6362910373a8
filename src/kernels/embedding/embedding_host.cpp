#include "kernels/embedding/embedding.hpp"

#include <algorithm>
#include <cstring>

#include "base/host_loops.hpp"
#include "base/integers.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

void embedding_forward(device::Context&, const EmbeddingForward& a) {
  ESPALIER_ASSERT(
      a.out.rows == a.tokens.cols && a.out.cols == a.table.cols && a.out.dtype == a.table.dtype,
      "tokens {}, table {}, out {}", describe(a.tokens), describe(a.table), describe(a.out));
  const auto* tokens = a.tokens.as<std::uint32_t>();
  const auto row_bytes = static_cast<std::size_t>(a.out.cols) * size_of(a.out.dtype);
  dispatch(a.out.dtype, [&]<class T>(T) {
    host_for_ranges(a.out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t row = std::int64_t{tokens[t]} - a.first_row;
        if (row >= 0 && row < a.table.rows)
          std::memcpy(a.out.as<T>(t), a.table.as<T>(row), row_bytes);
        else
          std::memset(static_cast<void*>(a.out.as<T>(t)), 0, row_bytes);
      }
    });
  });
}

void embedding_backward(device::Context&, const EmbeddingBackward& a) {
  ESPALIER_ASSERT(a.d_out.rows == a.tokens.cols && a.d_out.cols == a.d_table.cols &&
                      a.order.cols >= a.tokens.cols,
                  "tokens {}, d_out {}, d_table {}, order {}", describe(a.tokens),
                  describe(a.d_out), describe(a.d_table), describe(a.order));
  const auto* tokens = a.tokens.as<std::uint32_t>();
  auto* order = a.order.as<std::int32_t>();
  std::int64_t count = 0;
  for (std::int64_t t = 0; t < a.tokens.cols; ++t) {
    const std::int64_t row = std::int64_t{tokens[t]} - a.first_row;
    if (row >= 0 && row < a.d_table.rows) order[count++] = narrow<std::int32_t>(t);
  }
  // By id, then by token: equal ids become one run, added up in token order by one owner.
  std::sort(order, order + count, [tokens](std::int32_t left, std::int32_t right) {
    return tokens[left] != tokens[right] ? tokens[left] < tokens[right] : left < right;
  });
  const auto continues = [&](std::int64_t i) {
    return i > 0 && i < count && tokens[order[i]] == tokens[order[i - 1]];
  };
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    host_for_ranges(count, 1, [&](std::int64_t begin, std::int64_t end) {
      // A run belongs to the range that holds its first token.
      while (begin < end && continues(begin)) ++begin;
      if (begin == end) return;
      while (continues(end)) ++end;
      for (std::int64_t i = begin; i < end;) {
        std::int64_t last = i + 1;
        while (last < end && continues(last)) ++last;
        float* sum = a.d_table.as<float>(std::int64_t{tokens[order[i]]} - a.first_row);
        simd::for_lanes(a.d_table.cols, [&](std::int64_t c, auto lanes) {
          simd::Floats value = simd::load(sum + c, lanes);
          for (std::int64_t j = i; j < last; ++j)
            value += simd::load(a.d_out.as<T>(order[j]) + c, lanes);
          simd::store(sum + c, value, lanes);
        });
        i = last;
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
