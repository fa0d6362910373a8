#pragma once
#include "device/view.hpp"
#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// A matrix of heads: rows are the tokens of one sequence after the other, columns are heads.
template <class T>
struct Heads {
  T* data;
  std::int64_t stride;

  /// The first row of sequence b, at the first column of head h.
  ESPALIER_DEVICE T* at(int b, int length, int h, int head_dim) const {
    return data + static_cast<std::int64_t>(b) * length * stride +
           static_cast<std::int64_t>(h) * head_dim;
  }
};

template <class T>
Heads<const T> heads_of(const device::ConstView& view) {
  return {view.as<T>(), view.stride};
}
template <class T>
Heads<T> heads_of(const device::View& view) {
  return {view.as<T>(), view.stride};
}

}  // namespace espalier::kernels::ESPALIER_GPU
