#include "tokenizer/definition.hpp"

#include "base/error.hpp"

namespace espalier::tokenizer {
void Definition::add_token(const std::filesystem::path& file, std::uint64_t id, std::string bytes,
                           Token::Kind kind) {
  require(id < kMaxIds, ExitStatus::bad_data, "{}: the id {} is too large (ids are below {})",
          file.string(), id, kMaxIds);
  if (id >= tokens.size()) tokens.resize(id + 1);
  require(tokens[id].kind == Token::Kind::none, ExitStatus::bad_data,
          "{}: the id {} belongs to two tokens", file.string(), id);
  tokens[id] = {std::move(bytes), kind};
}

void Definition::find_bytes(const std::filesystem::path& file) {
  byte_ids.fill(kNoRank);
  for (std::uint32_t id = 0; id < tokens.size(); ++id)
    if (tokens[id].kind == Token::Kind::bytes && tokens[id].bytes.size() == 1)
      byte_ids[static_cast<unsigned char>(tokens[id].bytes[0])] = id;
  for (std::size_t byte = 0; byte < 256; ++byte)
    require(byte_ids[byte] != kNoRank, ExitStatus::bad_data,
            "{}: the vocabulary has no token for the byte 0x{:02x}. Only byte-level vocabularies "
            "with all 256 bytes are supported",
            file.string(), byte);
}

}  // namespace espalier::tokenizer
