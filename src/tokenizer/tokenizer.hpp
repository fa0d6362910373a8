#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

/// Where a text of ids stands in what a reader sees.
enum class TextPlace : std::uint8_t {
  whole,      ///< alone: the blank that a tokenizer puts before every text is taken away
  continued,  ///< behind other text, which it continues
};

/// BPE over bytes, or over characters with their bytes for those that the vocabulary has not
/// (SentencePiece's), equal in ids to Hugging Face `tokenizers`. Pre-tokenisers are sequences of
/// Split, Digits, ByteLevel and Metaspace; the expressions of GPT-2, Qwen2/3 and Llama-3 are cut by
/// hand-written scanners, others by PCRE2. Normalisers are NFC, Prepend and Replace.
///
/// Invalid UTF-8 in the text: each maximal ill-formed part becomes U+FFFD (Unicode 15, section 3.9,
/// "U+FFFD substitution of maximal subparts", as Python's errors="replace") before anything else.
class Tokenizer {
 public:
  /// Reads, by name and contents,
  ///   tokenizer.json      Hugging Face's description of everything
  ///   .tiktoken, .model   lines "base64 rank". Their number says whose they are: 128,000
  ///                       Llama-3's, 50,256 GPT-2's, any other Qwen's. It decides on
  ///                       pre-tokeniser, NFC and added tokens: Llama-3's 256, else
  ///                       <|endoftext|>, from the next id on
  ///   vocab.json          GPT-2's, with merges.txt beside it (or encoder.json and vocab.bpe)
  /// Throws Error (bad_data) that names the file and what in it is not supported.
  static Tokenizer from_file(const std::filesystem::path& path);
  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Appends the ids of `text`. Added tokens in the text are recognised; none is added, neither
  /// Llama-3's <|begin_of_text|> nor what else a post_processor of the file asks for
  /// (add_special_tokens=False). Thread-safe when each thread has its own Scratch.
  struct Scratch;
  std::shared_ptr<Scratch> make_scratch() const;
  void encode(std::string_view text, std::vector<std::uint32_t>& ids, Scratch& scratch) const;
  std::vector<std::uint32_t> encode(std::string_view text) const;
  /// Bytes of the ids, joined. Special tokens are written as their text. An id that has no token (a
  /// hole, or a row that pads the embedding) has no bytes either.
  std::string decode(std::span<const std::uint32_t> ids, TextPlace place = TextPlace::whole) const;

  std::uint32_t size() const;              ///< one more than the largest id
  bool has_token(std::uint32_t id) const;  ///< not every id below size() need have one
  std::optional<std::uint32_t> token_id(std::string_view content) const;  ///< of an added token
  /// The usual document separator: the id of "<|endoftext|>", else "<|end_of_text|>", else "</s>";
  /// nothing: none of them is an added token.
  std::optional<std::uint32_t> find_end_of_text() const;
  /// The same; throws Error (bad_data) when there is none.
  std::uint32_t end_of_text() const;
  /// Identity of vocabulary, merges, normaliser, pre-tokeniser and added tokens: 16 hex digits. The
  /// same vocabulary read from either file format has the same identity where they agree.
  std::string identity() const;

 private:
  struct Implementation;
  explicit Tokenizer(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::tokenizer
