#include "io/tensor_file.hpp"

#include <catch2/catch.hpp>

#include "io/hdf5.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using parallel::Rectangle;
using parallel::TensorSpec;

namespace {

/// The dataset's shape and values.
struct Dataset {
  std::vector<hsize_t> shape;
  std::vector<float> values;
};

Dataset read(const std::filesystem::path& path, const std::string& name) {
  const auto lock = io::hdf5_lock();
  const io::Hdf5File file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  const io::Hdf5Dataset dataset(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT));
  const io::Hdf5Space space(H5Dget_space(dataset.get()));
  Dataset result;
  result.shape.resize(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space.get())));
  H5Sget_simple_extent_dims(space.get(), result.shape.data(), nullptr);
  result.values.resize(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get())));
  REQUIRE(H5Dread(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                  result.values.data()) >= 0);
  return result;
}

}  // namespace

TEST_CASE("parts of matrices, vectors and experts make whole tensors with Hugging Face's shapes") {
  std::vector<TensorSpec> table(4);
  table[0] = {.name = "matrix", .rows = 6, .cols = 4};
  table[1] = {.name = "vector", .rows = 6, .cols = 1};
  table[1].is_vector = true;
  table[2] = {.name = "turned", .rows = 6, .cols = 4};
  table[2].place = {.name = "turned", .transposed = true, .offset = 0, .total_rows = 6};
  table[3] = {.name = "experts", .rows = 12, .cols = 4, .num_experts = 3};
  table[3].place.expert_parts = {"{}.gate", "{}.up"};
  const testing::ScratchFolder folder;
  const auto path = folder / "tensors.h5";
  io::create_tensor_file(path, table);

  for (const TensorSpec& spec : table) {
    std::vector<float> values(static_cast<std::size_t>(spec.num_elements()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    // Rows as ranks own them, borders within an expert, and columns as tensor ranks have them.
    std::vector<io::TensorPart> parts;
    const std::int64_t half = spec.is_vector ? 1 : 2;
    const std::vector<std::pair<std::int64_t, std::int64_t>> shares{
        {0, 1}, {1, 5}, {5, 6}, {6, 12}};
    for (const auto& [begin, end] : shares)
      for (std::int64_t col = 0; col < spec.cols; col += half) {
        const Rectangle part{begin, std::min<std::int64_t>(end, spec.rows), col, col + half};
        if (part.row_begin < spec.rows)
          parts.push_back({&spec, part, values.data() + begin * spec.cols + col, spec.cols});
      }
    io::write_tensor_parts(path, parts);
    const Dataset there = read(path, spec.name);
    INFO(spec.name);
    if (spec.num_experts > 0) CHECK(there.shape == std::vector<hsize_t>{3, 4, 4});
    if (spec.name == "turned") {
      CHECK(there.shape == std::vector<hsize_t>{4, 6});
      for (std::size_t row = 0; row < 6; ++row)
        for (std::size_t col = 0; col < 4; ++col)
          CHECK(there.values[col * 6 + row] == values[row * 4 + col]);
    } else {
      CHECK(there.values == values);
    }
  }
}
