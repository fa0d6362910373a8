#include "tokenizer/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"
#include "tokenizer/added_tokens.hpp"
#include "tokenizer/bpe.hpp"
#include "tokenizer/character_coding.hpp"
#include "tokenizer/definition.hpp"
#include "tokenizer/normalizer.hpp"
#include "tokenizer/split_steps.hpp"
#include "tokenizer/unicode.hpp"
#include "tokenizer/word_cache.hpp"

namespace espalier::tokenizer {
namespace {

std::string read_whole(const std::filesystem::path& path) {
  std::optional<std::string> text = read_whole_file(path);
  require(text.has_value(), ExitStatus::bad_data,
          "{}: the tokenizer cannot be read: {}. Correct data.tokenizer (a tokenizer.json or "
          ".tiktoken file)",
          path.string(), errno == EISDIR ? "it is a folder" : std::strerror(errno));
  return std::move(*text);
}

}  // namespace

Definition read_definition(const std::filesystem::path& path) {
  const std::string text = read_whole(path);
  const auto extension = path.extension();
  return extension == ".tiktoken" || extension == ".model" ? read_tiktoken(path, text)
                                                           : read_tokenizer_json(path, text);
}

struct Tokenizer::Scratch {
  WordCache cache;
  Bpe::Scratch bpe;
  Normalization normalization;
  std::string marked;
  std::vector<std::uint32_t> symbols;
  Regex::Scratch regex;
};

struct Tokenizer::Implementation {
  explicit Implementation(const std::filesystem::path& path, Definition read);
  void mark_unreachable();
  std::string canonical_form() const;
  void encode_raw(std::string_view text, std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  void encode_segment(std::string_view text, bool begins_document, std::vector<std::uint32_t>& ids,
                      Scratch& scratch) const;
  void encode_marked(std::string_view text, bool begins_document, std::vector<std::uint32_t>& ids,
                     Scratch& scratch) const;
  void encode_plain(std::string_view text, std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  template <class Cutter>
  void encode_pieces(std::string_view text, std::vector<std::uint32_t>& ids, Scratch& scratch,
                     Cutter&& cutter) const;
  /// A piece, not yet looked up. They are cut some at a time, so that the cache's memory arrives
  /// while the next ones are cut.
  struct Cut {
    const char* begin;
    std::size_t size;
    WordCache::Key key;  // of no use past WordCache::kLongestPiece
  };
  static constexpr std::size_t kCutsAtATime = 32;
  void encode_cuts(std::span<const Cut> cuts, std::vector<std::uint32_t>& ids,
                   Scratch& scratch) const;
  void encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids,
                    Scratch& scratch) const;
  void merge(std::string_view piece, std::vector<std::uint32_t>& ids, Scratch& scratch) const;

  std::filesystem::path path;
  Definition definition;
  Bpe bpe;
  std::optional<CharacterCoding> characters;
  AddedTokens raw_added, normalized_added;
  std::unordered_map<std::string_view, std::uint32_t> unreachable;  // see mark_unreachable
  std::string identity;
  const UnicodeTable& table = UnicodeTable::instance();
};

Tokenizer::Implementation::Implementation(const std::filesystem::path& from, Definition read)
    : path(from),
      definition(std::move(read)),
      bpe(definition.characters ? Bpe(definition.merges.size())
                                : Bpe(definition.byte_ids, definition.merges.size())) {
  for (std::uint32_t rank = 0; rank < definition.merges.size(); ++rank)
    bpe.add_merge(definition.merges[rank], rank);
  // Special tokens come first where two have the same text.
  std::vector<AddedToken> in_order = definition.added;
  std::stable_partition(in_order.begin(), in_order.end(),
                        [](const AddedToken& token) { return token.special; });
  std::vector<AddedToken> raw, normalized;
  Regex::Scratch scratch;
  Normalization normalization;
  for (AddedToken& token : in_order) {
    const auto needed = std::size_t{token.id} + 1;
    if (definition.tokens.size() < needed) definition.tokens.resize(needed);
    Token& known = definition.tokens[token.id];
    if (!definition.characters || known.kind == Token::Kind::none)
      known = {token.content, Token::Kind::literal};
    if (token.normalized)
      token.content =
          std::string(normalization.apply(definition.normalizer, token.content, table, scratch));
    require(!token.content.empty(), ExitStatus::bad_data,
            "{}: nothing is left of the added token with id {} after the normalizer", path.string(),
            token.id);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  if (definition.characters) {
    characters.emplace(definition);
    for (const AddedToken& token : normalized) characters->set_text(token.id, token.content);
  }
  if (CharacterCoding::words_never_merge(definition))
    definition.splits = {{.kind = SplitStep::Kind::marks}};
  raw_added = AddedTokens(std::move(raw));
  normalized_added = AddedTokens(std::move(normalized));
  if (definition.ignore_merges) mark_unreachable();
  identity = fmt::format("{:016x}", hash_text(canonical_form()));
}

/// "Ignore merges" takes a piece that is a token without merging. That differs from merging only
/// for tokens that their own merges do not lead to: usually none, and then the rule is dropped.
void Tokenizer::Implementation::mark_unreachable() {
  Scratch scratch;
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id) {
    const Token& token = definition.tokens[id];
    if (token.kind != Token::Kind::bytes) continue;
    ids.clear();
    merge(token.bytes, ids, scratch);
    if (ids.size() != 1) unreachable.emplace(token.bytes, id);
  }
}

/// What decides about ids, independent of the file's format and of the order in it.
std::string Tokenizer::Implementation::canonical_form() const {
  const auto names_of = [](const auto& steps) {
    std::string names;
    for (const auto& step : steps) {
      const std::string name = name_of(step);
      if (!name.empty()) names += names.empty() ? name : "; " + name;
    }
    return names.empty() ? std::string("none") : names;
  };
  std::string form = fmt::format(
      "espalier tokenizer 1\nnormalizer {}\npre_tokenizer {}\nwhole_pieces {}\n",
      names_of(definition.normalizer), names_of(definition.splits), !unreachable.empty());
  if (!definition.prefix.mark.empty())
    form += fmt::format("prefix {} {}\n", definition.prefix.mark,
                        static_cast<int>(definition.prefix.scheme));
  if (const auto& alphabet = definition.characters)
    form += fmt::format("characters, bytes {}, unknown {} {}\n", alphabet->has_byte_fallback,
                        alphabet->unknown ? fmt::format("{}", *alphabet->unknown) : "none",
                        alphabet->fuses_unknown);
  const auto number = [&form](std::uint64_t value) {
    for (int shift = 0; shift < 32; shift += 8)
      form.push_back(static_cast<char>((value >> shift) & 0xFF));
  };
  const auto text = [&](std::string_view value) {
    number(value.size());
    form += value;
  };
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id) {
    if (definition.tokens[id].kind != Token::Kind::bytes) continue;
    number(id);
    text(definition.tokens[id].bytes);
  }
  form += "\nmerges\n";
  for (const Merge& merge : definition.merges) {
    number(merge.left);
    number(merge.right);
  }
  form += "\nadded\n";
  std::vector<const AddedToken*> added;
  for (const AddedToken& token : definition.added) added.push_back(&token);
  std::sort(added.begin(), added.end(), [](auto* a, auto* b) { return a->id < b->id; });
  for (const AddedToken* token : added) {
    number(token->id);
    number((token->normalized ? 1u : 0u) | (token->single_word ? 2u : 0u) |
           (token->lstrip ? 4u : 0u) | (token->rstrip ? 8u : 0u));
    text(token->content);
  }
  return form;
}

/// Text that may be ill-formed -> added tokens and what lies between them.
void Tokenizer::Implementation::encode_raw(std::string_view text, std::vector<std::uint32_t>& ids,
                                           Scratch& scratch) const {
  AddedTokens::Search search(raw_added, text);
  for (std::size_t done = 0;;) {
    const auto found = search.next();
    if (found.begin > done)
      encode_segment(text.substr(done, found.begin - done), done == 0, ids, scratch);
    if (found.token == nullptr) break;
    ids.push_back(found.token->id);
    done = found.end;
  }
}

/// Text without raw added tokens -> normalised, split at the added tokens looked for after that.
void Tokenizer::Implementation::encode_segment(std::string_view text, bool begins_document,
                                               std::vector<std::uint32_t>& ids,
                                               Scratch& scratch) const {
  if (!definition.normalizer.empty())
    text = scratch.normalization.apply(definition.normalizer, text, table, scratch.regex);
  if (normalized_added.empty()) return encode_marked(text, begins_document, ids, scratch);
  AddedTokens::Search search(normalized_added, text);
  for (std::size_t done = 0;;) {
    const auto found = search.next();
    if (found.begin > done)
      encode_marked(text.substr(done, found.begin - done), begins_document && done == 0, ids,
                    scratch);
    if (found.token == nullptr) break;
    ids.push_back(found.token->id);
    done = found.end;
  }
}

/// Text without added tokens.
void Tokenizer::Implementation::encode_marked(std::string_view text, bool begins_document,
                                              std::vector<std::uint32_t>& ids,
                                              Scratch& scratch) const {
  encode_plain(with_mark(definition.prefix, text, begins_document, scratch.marked), ids, scratch);
}

void Tokenizer::Implementation::encode_plain(std::string_view text, std::vector<std::uint32_t>& ids,
                                             Scratch& scratch) const {
  const auto& splits = definition.splits;
  // Two functions: in that of the scanners everything is one loop.
  if (splits.size() == 1 && splits.front().kind == SplitStep::Kind::scanner)
    encode_pieces(text, ids, scratch,
                  [&](auto& take) { for_each_piece(splits.front().scanner, text, table, take); });
  else
    encode_pieces(text, ids, scratch, [&](auto& take) {
      for_each_piece(std::span(splits), text, table, scratch.regex, take);
    });
}

/// `cutter` calls what it is given for every piece of the text.
template <class Cutter>
void Tokenizer::Implementation::encode_pieces(std::string_view text,
                                              std::vector<std::uint32_t>& ids, Scratch& scratch,
                                              Cutter&& cutter) const {
  std::array<Cut, kCutsAtATime> cuts;
  std::size_t num_cuts = 0;
  const char* text_end = text.data() + text.size();
  const auto take = [&](const char* begin, const char* end) {
    Cut& piece = cuts[num_cuts++];
    piece.begin = begin;
    piece.size = static_cast<std::size_t>(end - begin);
    if (piece.size <= WordCache::kLongestPiece) {
      piece.key = WordCache::key_of({begin, piece.size}, text_end);
      scratch.cache.prefetch(piece.key);
    }
    if (num_cuts == kCutsAtATime) {
      encode_cuts(cuts, ids, scratch);
      num_cuts = 0;
    }
  };
  cutter(take);
  encode_cuts(std::span(cuts).first(num_cuts), ids, scratch);
}

void Tokenizer::Implementation::encode_cuts(std::span<const Cut> cuts,
                                            std::vector<std::uint32_t>& ids,
                                            Scratch& scratch) const {
  // Room for all of them first: then a known piece is one look-up and one store of fixed size.
  constexpr std::size_t kRoom = WordCache::kInlineIds * kCutsAtATime;
  std::size_t at = ids.size();
  ids.resize(at + kRoom);
  for (const Cut& cut : cuts) {
    const std::string_view piece(cut.begin, cut.size);
    const bool may_be_known = piece.size() <= WordCache::kLongestPiece;
    const auto known =
        may_be_known ? scratch.cache.find(cut.key, piece) : std::span<const std::uint32_t>();
    if (!known.empty() && known.size() <= WordCache::kInlineIds) [[likely]] {
      std::memcpy(ids.data() + at, known.data(), sizeof(std::uint32_t) * WordCache::kInlineIds);
      at += known.size();
      continue;
    }
    ids.resize(at);
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
    } else {
      encode_piece(piece, ids, scratch);
      if (may_be_known) scratch.cache.insert(cut.key, piece, std::span(ids).subspan(at));
    }
    at = ids.size();
    ids.resize(at + kRoom);
  }
  ids.resize(at);
}

void Tokenizer::Implementation::encode_piece(std::string_view piece,
                                             std::vector<std::uint32_t>& ids,
                                             Scratch& scratch) const {
  if (!unreachable.empty()) {
    const auto whole = unreachable.find(piece);
    if (whole != unreachable.end()) return ids.push_back(whole->second);
  }
  merge(piece, ids, scratch);
}

void Tokenizer::Implementation::merge(std::string_view piece, std::vector<std::uint32_t>& ids,
                                      Scratch& scratch) const {
  if (!characters) return bpe.encode(piece, ids, scratch.bpe);
  characters->symbols_of(piece, scratch.symbols);
  bpe.encode_symbols(scratch.symbols, ids, scratch.bpe);
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  return Tokenizer(std::make_unique<Implementation>(path, read_definition(path)));
}

Tokenizer::Tokenizer(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::shared_ptr<Tokenizer::Scratch> Tokenizer::make_scratch() const {
  return std::make_shared<Scratch>();
}

void Tokenizer::encode(std::string_view text, std::vector<std::uint32_t>& ids,
                       Scratch& scratch) const {
  try {
    if (is_valid_utf8(text)) return implementation_->encode_raw(text, ids, scratch);
    implementation_->encode_raw(replace_ill_formed(text), ids, scratch);
  } catch (const Error& error) {
    fail(error.status(), "{}: {}", implementation_->path.string(), error.what());
  }
}

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::uint32_t> ids;
  encode(text, ids, *make_scratch());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, TextPlace place) const {
  const auto& tokens = implementation_->definition.tokens;
  std::string text;
  if (implementation_->characters)
    return implementation_->characters->decode(ids, place == TextPlace::whole);
  for (const std::uint32_t id : ids)
    if (id < tokens.size()) text += tokens[id].bytes;
  return text;
}

bool Tokenizer::has_token(std::uint32_t id) const {
  const auto& tokens = implementation_->definition.tokens;
  return id < tokens.size() && tokens[id].kind != Token::Kind::none;
}

std::uint32_t Tokenizer::size() const {
  return static_cast<std::uint32_t>(implementation_->definition.tokens.size());
}

std::optional<std::uint32_t> Tokenizer::token_id(std::string_view content) const {
  for (const AddedToken& token : implementation_->definition.added)
    if (token.content == content) return token.id;
  return std::nullopt;
}

std::optional<std::uint32_t> Tokenizer::find_end_of_text() const {
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>"})
    if (const auto id = token_id(name)) return id;
  return std::nullopt;
}

std::uint32_t Tokenizer::end_of_text() const {
  if (const auto id = find_end_of_text()) return *id;
  fail(ExitStatus::bad_data,
       "{}: no added token can separate documents (<|endoftext|>, <|end_of_text|> or </s>): name "
       "one of its tokens with data.document_separator_token",
       implementation_->path.string());
}

std::string Tokenizer::identity() const {
  return implementation_->identity;
}

}  // namespace espalier::tokenizer
