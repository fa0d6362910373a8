#pragma once
#include <initializer_list>
#include <string>
#include <vector>

namespace espalier::testing {

/// The bytes of integers, one behind the other, as a little-endian machine has them.
template <class T>
std::string bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <class T>
std::string bytes(std::initializer_list<T> values) {
  return bytes(std::vector<T>(values));
}

}  // namespace espalier::testing
