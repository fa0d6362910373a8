#pragma once
#include <hdf5.h>

#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace espalier::testing {

/// A small HDF5 file of expected values, read whole dataset by whole dataset.
class Hdf5Fixture {
 public:
  explicit Hdf5Fixture(const std::string& path)
      : file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
    if (file_ < 0) throw std::runtime_error("cannot open fixture " + path);
  }
  ~Hdf5Fixture() { H5Fclose(file_); }
  Hdf5Fixture(const Hdf5Fixture&) = delete;
  Hdf5Fixture& operator=(const Hdf5Fixture&) = delete;

  bool has_dataset(const std::string& name) const {
    const std::string folder = name.substr(0, name.find('/'));
    return H5Lexists(file_, folder.c_str(), H5P_DEFAULT) > 0 &&
           H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
  }
  bool has_attribute(const std::string& object, const std::string& name) const {
    return H5Aexists_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
  }
  std::vector<float> floats(const std::string& name) const {
    return read<float>(name, H5T_NATIVE_FLOAT);
  }
  std::vector<double> doubles(const std::string& name) const {
    return read<double>(name, H5T_NATIVE_DOUBLE);
  }
  std::vector<std::uint32_t> words(const std::string& name) const {
    return read<std::uint32_t>(name, H5T_NATIVE_UINT32);
  }
  /// A numeric attribute of `object` ("/" or a group).
  double attribute(const std::string& object, const std::string& name) const {
    double value = 0.0;
    const hid_t id = H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    if (id < 0 || H5Aread(id, H5T_NATIVE_DOUBLE, &value) < 0)
      throw std::runtime_error("no attribute " + name);
    H5Aclose(id);
    return value;
  }

 private:
  template <class T>
  std::vector<T> read(const std::string& name, hid_t type) const {
    const hid_t dataset = H5Dopen2(file_, name.c_str(), H5P_DEFAULT);
    if (dataset < 0) throw std::runtime_error("no dataset " + name);
    const hid_t space = H5Dget_space(dataset);
    std::vector<T> values(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
    const herr_t status = H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Sclose(space);
    H5Dclose(dataset);
    if (status < 0) throw std::runtime_error("cannot read " + name);
    return values;
  }
  hid_t file_;
};

}  // namespace espalier::testing
