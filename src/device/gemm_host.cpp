#include <fmt/core.h>

#include <cstddef>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/integers.hpp"
#include "device/gemm_engine.hpp"
#include "device/gemm_widened.hpp"
#include "device/host_library.hpp"

namespace espalier::device {
namespace {

using dnnl::memory;

memory::data_type library_type(DType dtype) {
  ESPALIER_ASSERT(dtype == DType::f32 || dtype == DType::bf16, "GEMM on {}", name_of(dtype));
  return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::desc descriptor(const GemmOperand& o) {
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
  DType type_a, type_b, type_c;
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
    mix(static_cast<std::int64_t>(key.type_a) * 1024 + static_cast<std::int64_t>(key.type_b) * 128 +
        static_cast<std::int64_t>(key.type_c) * 16 + key.transpose_a * 8 + key.transpose_b * 4 +
        key.accumulate * 2 + key.has_bias);
    return hash;
  }
};

struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, c, bias, scratchpad;
};

class HostGemm final : public GemmEngine {
 public:
  explicit HostGemm(Bf16Products products)
      : widens_bf16_(products == Bf16Products::widened || !host_library_multiplies_bf16()) {}

  void multiply(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b, bool accumulate,
                const void* bias) override {
    try {
      const Product* found = nullptr;
      if (a.dtype != DType::bf16 || !widens_bf16_)
        found = product(a, b, c, accumulate, bias != nullptr);
      if (found == nullptr) return widened_.multiply(c, a, b, accumulate, bias);
      const Product& p = *found;
      if (p.scratchpad.get_size() > scratchpad_bytes_) {
        scratchpad_bytes_ = p.scratchpad.get_size();
        scratchpad_ = memory(memory::desc({static_cast<std::int64_t>(scratchpad_bytes_)},
                                          memory::data_type::u8, memory::dims{1}),
                             engine_);
      }
      void* scratch = scratchpad_bytes_ > 0 ? scratchpad_.get_data_handle() : nullptr;
      const auto bind = [this](const memory::desc& d, const void* data) {
        return memory(d, engine_, const_cast<void*>(data));
      };
      std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, bind(p.a, a.data)},
                                                {DNNL_ARG_WEIGHTS, bind(p.b, b.data)},
                                                {DNNL_ARG_DST, bind(p.c, c.data)},
                                                {DNNL_ARG_SCRATCHPAD, bind(p.scratchpad, scratch)}};
      if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, bind(p.bias, bias));
      p.primitive.execute(stream_, arguments);
      stream_.wait();
    } catch (const dnnl::error& error) {
      fail(ExitStatus::internal,
           "oneDNN matmul: {} (status {}): ({}, {}){} {} times ({}, {}){} into ({}, {}) {}{}",
           error.message, static_cast<int>(error.status), a.rows, a.cols, a.transposed ? "^T" : "",
           name_of(a.dtype), b.rows, b.cols, b.transposed ? "^T" : "", c.rows, c.cols,
           name_of(c.dtype), accumulate ? ", accumulated" : "");
    }
  }

  std::string describe() const override {
    const dnnl_version_t* version = dnnl_version();
    return fmt::format("oneDNN {}.{}.{} {}{}", version->major, version->minor, version->patch,
                       host_library_isa(), widens_bf16_ ? ", bf16 widened to fp32" : "");
  }

 private:
  /// Null when the library has no such product of bf16.
  const Product* product(const GemmOperand& a, const GemmOperand& b, const GemmOperand& c,
                         bool accumulate, bool has_bias) {
    const Key key{c.rows,       c.cols,       a.transposed ? a.rows : a.cols,
                  a.stride,     b.stride,     c.stride,
                  a.dtype,      b.dtype,      c.dtype,
                  a.transposed, b.transposed, accumulate,
                  has_bias};
    if (const auto found = products_.find(key); found != products_.end())
      return found->second ? &*found->second : nullptr;
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
    try {
      const dnnl::matmul::primitive_desc chosen(product, attributes, engine_);
      made.scratchpad = chosen.scratchpad_desc();
      made.primitive = dnnl::matmul(chosen);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented || a.dtype != DType::bf16) throw;
      products_.emplace(key, std::nullopt);
      return nullptr;
    }
    return &*products_.emplace(key, std::move(made)).first->second;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::unordered_map<Key, std::optional<Product>, KeyHash> products_;
  memory scratchpad_;
  std::size_t scratchpad_bytes_ = 0;
  bool widens_bf16_;  ///< all products of bf16
  WidenedProducts widened_;
};

}  // namespace

std::unique_ptr<GemmEngine> make_host_gemm(Bf16Products products) {
  return std::make_unique<HostGemm>(products);
}

}  // namespace espalier::device
