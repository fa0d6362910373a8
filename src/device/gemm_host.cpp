#include <fmt/core.h>
#include <sys/mman.h>

#include <cstddef>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>

#include "base/integers.hpp"
#include "device/gemm.hpp"

namespace espalier::device {
namespace {

using dnnl::memory;

/// A row-major operand as the library sees it: `transposed` swaps the roles of rows and columns by
/// strides alone, so that no product packs or copies a matrix.
struct Operand {
  const void* data;
  DType dtype;
  std::int64_t rows, cols, stride;
  bool transposed;
};

Operand operand(const ConstView& view, bool transposed = false) {
  return {view.data, view.dtype, view.rows, view.cols, view.stride, transposed};
}

memory::data_type library_type(DType dtype) {
  ESPALIER_ASSERT(dtype == DType::f32 || dtype == DType::bf16, "GEMM on {}", name_of(dtype));
  return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::desc descriptor(const Operand& o) {
  // The stride of a single row is never used; the library wants it at least as large as the row.
  const std::int64_t stride = o.rows > 1 ? o.stride : std::max(o.stride, o.cols);
  const memory::dims dims =
      o.transposed ? memory::dims{o.cols, o.rows} : memory::dims{o.rows, o.cols};
  const memory::dims strides = o.transposed ? memory::dims{1, stride} : memory::dims{stride, 1};
  return memory::desc(dims, library_type(o.dtype), strides);
}

/// Everything a primitive depends on; two calls with equal keys share one.
struct Key {
  std::int64_t m, n, k;
  std::int64_t stride_a, stride_b, stride_c;
  DType type_ab, type_c;
  bool transpose_a, transpose_b, accumulate, has_bias;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::size_t hash = 0;
    const auto mix = [&hash](std::int64_t value) {
      hash = (hash ^ std::hash<std::int64_t>{}(value)) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 29;
    };
    for (std::int64_t value : {key.m, key.n, key.k, key.stride_a, key.stride_b, key.stride_c})
      mix(value);
    mix(static_cast<std::int64_t>(key.type_ab) * 128 + static_cast<std::int64_t>(key.type_c) * 16 +
        key.transpose_a * 8 + key.transpose_b * 4 + key.accumulate * 2 + key.has_bias);
    return hash;
  }
};

struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, c, bias, scratchpad;
};

}  // namespace

struct Gemm::Implementation {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::unordered_map<Key, Product, KeyHash> products;
  memory scratchpad;
  std::size_t scratchpad_bytes = 0;

  const Product& product(const Operand& a, const Operand& b, const Operand& c, bool accumulate,
                         bool has_bias) {
    const Key key{c.rows,       c.cols,     a.transposed ? a.rows : a.cols,
                  a.stride,     b.stride,   c.stride,
                  a.dtype,      c.dtype,    a.transposed,
                  b.transposed, accumulate, has_bias};
    if (const auto found = products.find(key); found != products.end()) return found->second;
    dnnl::primitive_attr attributes;
    // One scratchpad for all products, because only one runs at a time.
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (accumulate) {
      dnnl::post_ops after;
      after.append_sum(1.0f);
      attributes.set_post_ops(after);
    }
    Product made;
    made.a = descriptor(a);
    made.b = descriptor(b);
    made.c = descriptor(c);
    if (has_bias)
      made.bias = memory::desc({1, c.cols}, library_type(a.dtype), memory::dims{c.cols, 1});
    const auto product = has_bias ? dnnl::matmul::desc(made.a, made.b, made.bias, made.c)
                                  : dnnl::matmul::desc(made.a, made.b, made.c);
    const dnnl::matmul::primitive_desc chosen(product, attributes, engine);
    made.scratchpad = chosen.scratchpad_desc();
    made.primitive = dnnl::matmul(chosen);
    return products.emplace(key, std::move(made)).first->second;
  }

  /// c (+)= a b (+ bias) after transposition; `bias` may be null.
  void multiply(const Operand& c, const Operand& a, const Operand& b, bool accumulate,
                const void* bias = nullptr) {
    try {
      const Product& p = product(a, b, c, accumulate, bias != nullptr);
      if (p.scratchpad.get_size() > scratchpad_bytes) {
        scratchpad_bytes = p.scratchpad.get_size();
        scratchpad = memory(memory::desc({static_cast<std::int64_t>(scratchpad_bytes)},
                                         memory::data_type::u8, memory::dims{1}),
                            engine);
      }
      void* scratch = scratchpad_bytes > 0 ? scratchpad.get_data_handle() : nullptr;
      const auto bind = [this](const memory::desc& d, const void* data) {
        return memory(d, engine, const_cast<void*>(data));
      };
      std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, bind(p.a, a.data)},
                                                {DNNL_ARG_WEIGHTS, bind(p.b, b.data)},
                                                {DNNL_ARG_DST, bind(p.c, c.data)},
                                                {DNNL_ARG_SCRATCHPAD, bind(p.scratchpad, scratch)}};
      if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, bind(p.bias, bias));
      p.primitive.execute(stream, arguments);
      stream.wait();
    } catch (const dnnl::error& error) {
      fail(ExitStatus::internal,
           "oneDNN matmul: {} (status {}): ({}, {}){} {} times ({}, {}){} into ({}, {}) {}{}",
           error.message, static_cast<int>(error.status), a.rows, a.cols, a.transposed ? "^T" : "",
           name_of(a.dtype), b.rows, b.cols, b.transposed ? "^T" : "", c.rows, c.cols,
           name_of(c.dtype), accumulate ? ", accumulated" : "");
    }
  }
};

Gemm::Gemm() : implementation_(std::make_unique<Implementation>()) {}
Gemm::~Gemm() = default;
Gemm::Gemm(Gemm&&) noexcept = default;

void Gemm::forward(View y, ConstView x, ConstView w, Output output, ConstView bias) {
  ESPALIER_ASSERT(y.rows == x.rows && y.cols == w.rows && x.cols == w.cols && x.dtype == w.dtype,
                  "y {} = x {} w^T {}", describe(y), describe(x), describe(w));
  ESPALIER_ASSERT(
      bias.data == nullptr || (bias.rows == 1 && bias.cols == w.rows && bias.dtype == w.dtype),
      "bias {} of w {}", describe(bias), describe(w));
  if (y.size() == 0) return;
  implementation_->multiply(operand(y), operand(x), operand(w, true), output == Output::accumulate,
                            bias.data);
}

void Gemm::backward_input(View dx, ConstView dy, ConstView w, Output output) {
  ESPALIER_ASSERT(
      dx.rows == dy.rows && dx.cols == w.cols && dy.cols == w.rows && dy.dtype == w.dtype,
      "dx {} = dy {} w {}", describe(dx), describe(dy), describe(w));
  if (dx.size() == 0) return;
  implementation_->multiply(operand(dx), operand(dy), operand(w), output == Output::accumulate);
}

void Gemm::backward_weight(View dw, ConstView dy, ConstView x, Output output) {
  ESPALIER_ASSERT(dw.rows == dy.cols && dw.cols == x.cols && dy.rows == x.rows &&
                      dw.dtype == DType::f32 && dy.dtype == x.dtype,
                  "dw {} = dy^T {} x {}", describe(dw), describe(dy), describe(x));
  if (dw.size() == 0) return;
  implementation_->multiply(operand(dw), operand(dy, true), operand(x),
                            output == Output::accumulate);
}

}  // namespace espalier::device
