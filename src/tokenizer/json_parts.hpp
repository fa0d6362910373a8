#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/definition.hpp"

// The parts of a tokenizer.json, into a Definition. Each names what it does not support.

namespace espalier::tokenizer {

/// Throws Error with the file's name before what is wrong. Never returns.
using Refuse = std::function<void(const std::string&)>;

/// "normalizer": NFC, Prepend, Replace, and sequences of them.
void read_normalizer(const nlohmann::json& normalizer, Definition& definition,
                     const Refuse& refuse);
/// "pre_tokenizer": Split, Digits, ByteLevel, Metaspace, and sequences of them. Returns whether
/// there is a ByteLevel, without which the alphabet is that of characters.
bool read_pre_tokenizer(const nlohmann::json& pre_tokenizer, Definition& definition,
                        const Refuse& refuse);
/// "decoder" of a vocabulary of characters.
void read_decoder(const nlohmann::json& decoder, CharacterAlphabet& characters,
                  const Refuse& refuse);

/// A member, or `otherwise` when it is absent or null.
template <class T>
T member(const nlohmann::json& object, const char* key, T otherwise) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : found->template get<T>();
}
/// What a message calls a part: its type with quotes, or the value itself.
std::string type_of(const nlohmann::json& part);

}  // namespace espalier::tokenizer
