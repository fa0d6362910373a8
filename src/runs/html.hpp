#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace espalier::runs {

/// A cell of a table on the page.
struct HtmlCell {
  HtmlCell(std::string words, bool number = false) : text(std::move(words)), is_number(number) {}
  HtmlCell(const char* words) : text(words) {}
  std::string text;
  bool is_number = false;
};
/// A table; `rows` have as many cells as `headings`. All text is escaped.
std::string html_table(const std::vector<std::string>& headings,
                       const std::vector<std::vector<HtmlCell>>& rows);
/// A picture (<svg>) that is as wide as its column.
std::string html_figure(std::string_view svg);
/// Folded until somebody opens it; on paper it is open.
std::string html_folded(std::string_view summary, std::string_view content);
/// A whole page that refers to nothing outside of itself and needs no script.
std::string html_page(std::string_view title, std::string_view body);

}  // namespace espalier::runs
