#include <fcntl.h>

#include <catch2/catch.hpp>
#include <limits>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "folder.hpp"
#include "huggingface/safetensors.hpp"

using namespace espalier;
using namespace espalier::huggingface;
using espalier::testing::bytes_of;
using espalier::testing::safetensors_bytes;
using espalier::testing::ScratchFolder;

namespace {

/// The message with which a file of these bytes is refused.
std::string refusal(const std::string& bytes) {
  const ScratchFolder folder;
  testing::write_file(folder / "x.safetensors", bytes);
  try {
    const SafetensorsFile file(folder / "x.safetensors");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    CHECK(std::string(error.what()).find("x.safetensors") != std::string::npos);
    return error.what();
  }
  return "accepted";
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

void expect(const std::string& message, const std::string& word) {
  INFO(message);
  CHECK(message.find(word) != std::string::npos);
}

}  // namespace

TEST_CASE("a file made by hand is read, in any order of its header, whatever the dtype") {
  const ScratchFolder folder;
  const std::vector<float> a = {1.0F, -2.5F, 3.0F, 4.0F};
  const std::vector<std::uint16_t> b = {0x3F80, 0xC020};  // bf16 1, -2.5
  const std::vector<std::uint16_t> c = {0x3C00, 0xC100};  // f16 1, -2.5
  const std::string header =
      R"({"c":)" + entry("F16", "[2]", "[20,24]") + R"(,"a":)" + entry("F32", "[2,2]", "[0,16]") +
      R"(,"b":)" + entry("BF16", "[1,2]", "[16,20]") + R"(,"e":)" +
      entry("F32", "[0,5]", "[24,24]") + R"(,"s":)" + entry("I64", "[]", "[24,32]") +
      R"(,"__metadata__":{"format":"pt"}}   )";
  testing::write_file(
      folder / "x.safetensors",
      safetensors_bytes(header, bytes_of(a) + bytes_of(b) + bytes_of(c) + std::string(8, 'x')));
  const SafetensorsFile file(folder / "x.safetensors");
  REQUIRE(file.tensors().size() == 5);
  CHECK(file.tensors()[0].name == "a");
  CHECK(file.tensors()[0].shape == std::vector<std::int64_t>{2, 2});
  CHECK(file.tensors()[1].dtype == "BF16");
  float values[4] = {};
  file.read_elements(file.tensors()[0], 0, 4, values);
  CHECK(std::vector<float>(values, values + 4) == a);
  file.read_elements(file.tensors()[0], 1, 2, values);
  CHECK(values[0] == -2.5F);
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
    file.read_elements(file.tensors()[i], 0, 2, values);
    CHECK(values[0] == 1.0F);
    CHECK(values[1] == -2.5F);
  }
}

TEST_CASE("what is written is read back, and rounded to nearest even") {
  const ScratchFolder folder;
  const std::vector<float> values = {1.0F, 1.00390625F, -3.0e-5F, 65504.0F};
  for (const std::string dtype : {"F32", "BF16", "F16"}) {
    std::vector<StoredTensor> tensors = {{"first", dtype, {2, 2}}, {"second", dtype, {4}}};
    const std::string header = make_header(tensors);
    CHECK(header.size() % 8 == 0);
    const auto path = folder / ("x" + dtype);
    testing::write_file(path, header);
    io::FileDescriptor out(path, O_WRONLY);
    out.resize(file_bytes(tensors, header));
    write_elements(out, tensors[0], 0, 4, values.data());
    write_elements(out, tensors[1], 2, 2, values.data() + 2);
    write_elements(out, tensors[1], 0, 2, values.data());
    const SafetensorsFile file(path);
    for (const StoredTensor& tensor : file.tensors()) {
      std::vector<float> back(4);
      file.read_elements(tensor, 0, 4, back.data());
      for (std::size_t i = 0; i < 4; ++i)
        CHECK(back[i] == Approx(values[i]).epsilon(dtype == "F32" ? 0.0 : 0x1p-8));
      if (dtype == "BF16") CHECK(back[1] == static_cast<float>(bf16(values[1])));
    }
  }
}

TEST_CASE("a finite value that is infinite as F16 is refused, an infinite one is not") {
  const ScratchFolder folder;
  std::vector<StoredTensor> tensors = {{"layer.weight", "F16", {1}}};
  const std::string header = make_header(tensors);
  testing::write_file(folder / "x", header);
  io::FileDescriptor out(folder / "x", O_WRONLY);
  const float infinite = std::numeric_limits<float>::infinity();
  write_elements(out, tensors[0], 0, 1, &infinite);
  const float large = 65520.0F;
  CHECK_THROWS_WITH(write_elements(out, tensors[0], 0, 1, &large),
                    Catch::Contains("layer.weight") && Catch::Contains("convert.dtype"));
}

TEST_CASE("a header that the format does not allow is refused") {
  const std::string data(16, 'd');
  const auto with = [&](const std::string& header) {
    return refusal(safetensors_bytes(header, data));
  };
  CHECK(with(R"({"a":)" + entry("F32", "[4]", "[0,16]") + "}") == "accepted");
  expect(with(R"({"a":)" + entry("F33", "[4]", "[0,16]") + "}"), "F33");
  expect(with(R"({"a":)" + entry("BF16", "[4]", "[0,16]") + "}"), "8 bytes");
  expect(with(R"({"a":)" + entry("F32", "[-4]", "[0,16]") + "}"), "[-4]");
  expect(with(R"({"a":)" + entry("F32", "[4.0]", "[0,16]") + "}"), "[4.0]");
  expect(with(R"({"a":)" + entry("F32", "[4294967296,4294967296]", "[0,16]") + "}"), "no size");
  expect(with(R"({"a":)" + entry("F32", "4", "[0,16]") + "}"), "shape");
  expect(with(R"({"a":)" + entry("F32", "[4]", "[16,0]") + "}"), "data_offsets");
  expect(with(R"({"a":)" + entry("F32", "[4]", "[0,16,32]") + "}"), "data_offsets");
  expect(with(R"({"a":)" + entry("F32", "[4]", "[0,1e1]") + "}"), "data_offsets");
  expect(with(R"({"a":)" + entry("F32", "[2]", "[0,8]") + "}"), "8 bytes follow");
  expect(with(R"({"a":)" + entry("F32", "[2]", "[8,16]") + "}"), "hole");
  expect(with(R"({"a":)" + entry("F32", "[8]", "[0,32]") + "}"), "truncated");
  expect(with(R"({"a":)" + entry("F32", "[4]", "[0,16]") + R"(,"b":)" +
              entry("F32", "[2]", "[8,16]") + "}"),
         "overlap");
  expect(with(R"({"a":)" + entry("F32", "[2]", "[0,8]") + R"(,"a":)" +
              entry("F32", "[2]", "[8,16]") + "}"),
         "twice");
  expect(with(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"more":1}})"), "more");
  expect(with(R"({"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}})"), "twice");
  expect(with(R"({"a":{"dtype":"F32","shape":[4]}})"), "data_offsets");
  expect(with(R"({"a":[]})"), "described");
  expect(with(R"({"__metadata__":{"a":{}}})"), "__metadata__");
  expect(with("[]"), "'{'");
  expect(with(" {}"), "'{'");
  expect(with("{"), "not JSON");
  expect(with("{}"), "16 bytes follow");
}

TEST_CASE("a file cut off anywhere is refused") {
  const std::string whole =
      safetensors_bytes(R"({"a":)" + entry("F32", "[4]", "[0,16]") + "}", std::string(16, 'd'));
  REQUIRE(refusal(whole) == "accepted");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO(size);
    CHECK(refusal(whole.substr(0, size)) != "accepted");
  }
  CHECK(refusal(whole + "x") != "accepted");
}

TEST_CASE("the length of a header is bounded before anything of that size is taken") {
  for (const std::uint64_t length : {std::uint64_t{100'000'001}, std::uint64_t{1} << 40,
                                     std::numeric_limits<std::uint64_t>::max()}) {
    std::string first(8, '\0');
    std::memcpy(first.data(), &length, 8);
    expect(refusal(first + "{}"), "limit");
  }
  std::string first(8, '\0');
  first[3] = 1;  // 16 MiB of header in a file of 10 bytes
  expect(refusal(first + "{}"), "truncated");
}
