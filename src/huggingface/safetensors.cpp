#include "huggingface/safetensors.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/dtype.hpp"
#include "base/error.hpp"
#include "huggingface/half.hpp"
#include "huggingface/strict_json.hpp"

namespace espalier::huggingface {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::uint64_t kChunkElements = std::uint64_t{1} << 20;

const std::map<std::string, std::uint64_t, std::less<>> kBytesOfDtype = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
    {"F32", 4},  {"C64", 8}, {"I64", 8}, {"U64", 8},     {"F64", 8},
};

/// False when the product does not fit.
bool multiply(std::uint64_t& product, std::uint64_t factor) {
  return !__builtin_mul_overflow(product, factor, &product);
}

/// Offsets here are from the end of the header, as the file has them.
StoredTensor parse_tensor(const fs::path& file, const std::string& name, const json& entry) {
  const std::string quoted = shown(json(name));
  const auto refuse = [&](const std::string& what) {
    fail(ExitStatus::bad_data, "{}: tensor {}: {}", file.string(), quoted, what);
  };
  if (!entry.is_object()) refuse(fmt::format("is described by {}", shown(entry)));
  for (const auto& [key, value] : entry.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      refuse(fmt::format("has the unknown key {}", shown(json(key))));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!entry.contains(key)) refuse(fmt::format("has no {}", key));

  StoredTensor tensor;
  tensor.name = name;
  const json& dtype = entry["dtype"];
  if (!dtype.is_string() || bytes_of(dtype.get_ref<const std::string&>()) == 0)
    refuse(fmt::format("the dtype {} is not known", shown(dtype)));
  tensor.dtype = dtype.get<std::string>();

  const json& shape = entry["shape"];
  if (!shape.is_array()) refuse(fmt::format("the shape is {}", shown(shape)));
  std::uint64_t bytes = bytes_of(tensor.dtype);
  for (const json& extent : shape) {
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() > kMax ||
        !multiply(bytes, extent.get<std::uint64_t>()))
      refuse(fmt::format("the shape {} has no size", shown(shape)));
    tensor.shape.push_back(extent.get<std::int64_t>());
  }
  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned() ||
      offsets[0].get<std::uint64_t>() > offsets[1].get<std::uint64_t>())
    refuse(fmt::format("data_offsets is {}", shown(offsets)));
  tensor.offset = offsets[0].get<std::uint64_t>();
  tensor.bytes = offsets[1].get<std::uint64_t>() - tensor.offset;
  if (tensor.bytes != bytes)
    refuse(fmt::format("{} {} needs {} bytes, data_offsets {} are {}", tensor.dtype,
                       describe_shape(tensor.shape), bytes, shown(offsets), tensor.bytes));
  return tensor;
}

template <class Stored, class Convert>
void convert(const std::vector<std::byte>& stored, std::uint64_t count, float* out,
             Convert&& to_float) {
  for (std::uint64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, stored.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = to_float(value);
  }
}

}  // namespace

std::uint64_t StoredTensor::num_elements() const {
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) count *= static_cast<std::uint64_t>(extent);
  return count;
}

std::uint64_t bytes_of(std::string_view dtype) {
  const auto found = kBytesOfDtype.find(dtype);
  return found == kBytesOfDtype.end() ? 0 : found->second;
}

bool is_readable(std::string_view dtype) {
  return dtype == "F32" || dtype == "BF16" || dtype == "F16";
}

std::string describe_shape(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  return text + ")";
}

std::uint64_t header_length(const fs::path& file, std::string_view first_bytes,
                            std::uint64_t file_bytes) {
  require(first_bytes.size() >= kLengthBytes && file_bytes >= kLengthBytes, ExitStatus::bad_data,
          "{}: has {} bytes, a safetensors file has at least 10: it is truncated, or no such file",
          file.string(), file_bytes);
  std::uint64_t length = 0;
  std::memcpy(&length, first_bytes.data(), kLengthBytes);
  require(length <= kMaxHeaderBytes, ExitStatus::bad_data,
          "{}: its first 8 bytes give a header of {} bytes, above the format's limit of {}: it is "
          "no safetensors file, or damaged",
          file.string(), length, kMaxHeaderBytes);
  require(length <= file_bytes - kLengthBytes, ExitStatus::bad_data,
          "{}: the header has {} bytes, the file {} in all: it is truncated; fetch it again",
          file.string(), length, file_bytes);
  return length;
}

std::vector<StoredTensor> parse_header(const fs::path& file, std::string_view text,
                                       std::uint64_t file_bytes) {
  require(text.starts_with('{'), ExitStatus::bad_data,
          "{}: the header does not begin with '{{': it is no safetensors file", file.string());
  const json header = parse_object(file, text);
  std::vector<StoredTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      require(entry.is_object() && std::all_of(entry.begin(), entry.end(),
                                               [](const json& value) { return value.is_string(); }),
              ExitStatus::bad_data, "{}: __metadata__ is {}, not an object of strings",
              file.string(), shown(entry));
      continue;
    }
    tensors.push_back(parse_tensor(file, name, entry));
  }
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });

  const std::uint64_t data_begin = kLengthBytes + text.size();
  const std::uint64_t data_bytes = file_bytes - data_begin;
  std::uint64_t end = 0;
  for (StoredTensor& tensor : tensors) {
    require(tensor.offset == end, ExitStatus::bad_data,
            "{}: tensor {} begins at byte {} of the data, the one before it ends at {}: tensors "
            "{}; the file is damaged",
            file.string(), shown(json(tensor.name)), tensor.offset, end,
            tensor.offset < end ? "overlap" : "leave a hole");
    end += tensor.bytes;
    require(end <= data_bytes, ExitStatus::bad_data,
            "{}: tensor {} ends at byte {} of the data, of which there are {}: the file is "
            "truncated; fetch it again",
            file.string(), shown(json(tensor.name)), end, data_bytes);
    tensor.offset += data_begin;
  }
  require(end == data_bytes, ExitStatus::bad_data,
          "{}: {} bytes follow the last tensor: the file is damaged", file.string(),
          data_bytes - end);
  return tensors;
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path, O_RDONLY) {
  const std::uint64_t size = file_.size();
  std::string first(std::min(size, kLengthBytes), '\0');
  file_.read_at(first.data(), first.size(), 0);
  std::string text(header_length(path, first, size), '\0');
  file_.read_at(text.data(), text.size(), kLengthBytes);
  tensors_ = parse_header(path, text, size);
}

void SafetensorsFile::read_elements(const StoredTensor& tensor, std::uint64_t first,
                                    std::uint64_t count, float* out) const {
  const std::uint64_t size = bytes_of(tensor.dtype);
  ESPALIER_ASSERT(is_readable(tensor.dtype) && (first + count) * size <= tensor.bytes, "{} {}",
                  tensor.name, tensor.dtype);
  if (tensor.dtype == "F32") {
    file_.read_at(out, count * size, tensor.offset + first * size);
    return;
  }
  std::vector<std::byte> stored(std::min(count, kChunkElements) * size);
  for (std::uint64_t done = 0; done < count; done += kChunkElements) {
    const std::uint64_t part = std::min(kChunkElements, count - done);
    file_.read_at(stored.data(), part * size, tensor.offset + (first + done) * size);
    if (tensor.dtype == "BF16") {
      convert<bf16>(stored, part, out + done, [](bf16 value) { return static_cast<float>(value); });
    } else {
      convert<std::uint16_t>(stored, part, out + done, half_to_float);
    }
  }
}

std::string make_header(std::vector<StoredTensor>& tensors) {
  nlohmann::ordered_json root;
  root["__metadata__"] = {{"format", "pt"}};  // transformers asks for it
  std::uint64_t end = 0;
  for (StoredTensor& tensor : tensors) {
    tensor.bytes = tensor.num_elements() * bytes_of(tensor.dtype);
    root[tensor.name] = {{"dtype", tensor.dtype},
                         {"shape", tensor.shape},
                         {"data_offsets", {end, end + tensor.bytes}}};
    tensor.offset = end;
    end += tensor.bytes;
  }
  std::string text = root.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data are aligned
  std::string header(kLengthBytes, '\0');
  const std::uint64_t length = text.size();
  std::memcpy(header.data(), &length, kLengthBytes);
  header += text;
  for (StoredTensor& tensor : tensors) tensor.offset += header.size();
  return header;
}

std::uint64_t file_bytes(const std::vector<StoredTensor>& tensors, std::string_view header) {
  return tensors.empty() ? header.size() : tensors.back().offset + tensors.back().bytes;
}

void write_elements(io::FileDescriptor& file, const StoredTensor& tensor, std::uint64_t first,
                    std::uint64_t count, const float* values) {
  const std::uint64_t size = bytes_of(tensor.dtype);
  ESPALIER_ASSERT(is_readable(tensor.dtype) && (first + count) * size <= tensor.bytes, "{} {}",
                  tensor.name, tensor.dtype);
  if (tensor.dtype == "F32") {
    file.write_at(values, count * size, tensor.offset + first * size);
    return;
  }
  const bool is_half = tensor.dtype == "F16";
  std::vector<std::uint16_t> stored(std::min(count, kChunkElements));
  for (std::uint64_t done = 0; done < count; done += kChunkElements) {
    const std::uint64_t part = std::min(kChunkElements, count - done);
    for (std::uint64_t i = 0; i < part; ++i) {
      const float value = values[done + i];
      stored[i] = is_half ? float_to_half(value) : bf16(value).bits;
      if (is_half && (stored[i] & 0x7FFFu) == 0x7C00u && std::isfinite(value))
        fail(ExitStatus::bad_data,
             "{}: the value {} is beyond float16, which ends at 65504: set convert.dtype = "
             "bfloat16 or float32",
             tensor.name, value);
    }
    file.write_at(stored.data(), part * size, tensor.offset + (first + done) * size);
  }
}

}  // namespace espalier::huggingface
