#include "huggingface/strict_json.hpp"

#include <fcntl.h>

#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"

namespace espalier::huggingface {

using nlohmann::json;

json parse_object(const std::filesystem::path& file, std::string_view text) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  constexpr int kMaxDepth = 100;
  const auto look = [&](int depth, json::parse_event_t event, json& parsed) {
    // The library prints and frees what it has read by recursion.
    require(depth <= kMaxDepth, ExitStatus::bad_data, "{}: JSON nested deeper than {} levels",
            file.string(), kMaxDepth);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      require(keys.back().insert(key).second, ExitStatus::bad_data,
              "{}: the key {} is there twice: the file is damaged or was put together by hand",
              file.string(), parsed.dump(-1, ' ', true, json::error_handler_t::replace));
    }
    return true;
  };
  json root;
  try {
    root = json::parse(text, look);
  } catch (const json::exception& error) {
    fail(ExitStatus::bad_data, "{}: not JSON: {}", file.string(), error.what());
  }
  require(root.is_object(), ExitStatus::bad_data, "{}: holds a JSON {}, not an object",
          file.string(), root.type_name());
  return root;
}

std::string read_small_file(const std::filesystem::path& file) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20;
  const io::FileDescriptor descriptor(file, O_RDONLY);
  const std::uint64_t bytes = descriptor.size();
  require(bytes <= kMaxBytes, ExitStatus::bad_data, "{}: has {} bytes, at most {} are expected",
          file.string(), bytes, kMaxBytes);
  std::string text(bytes, '\0');
  descriptor.read_at(text.data(), bytes, 0);
  return text;
}

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 100) text = text.substr(0, 100) + "...";
  return text;
}

}  // namespace espalier::huggingface
