#include "runs/html.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "report/svg.hpp"

namespace espalier::runs {
namespace {

// Colours are those of the charts (report/svg.cpp), whose paper is the cards' ground.
constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5a6470;--paper:#fff;--ground:#f3f5f7;
--edge:#d5dae0;--strong:#0059a0}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1720px;padding:1rem 1.25rem 3rem;background:var(--ground);
color:var(--ink);font:15px/1.45 Arial,Helvetica,"Liberation Sans",sans-serif}
h1{font-size:1.5rem;margin:.4rem 0}
h2{font-size:1.15rem;margin:1.8rem 0 .6rem}
p{margin:.4rem 0;max-width:75ch}
.soft{color:var(--soft)}
.card,figure{background:var(--paper);border:1px solid var(--edge);border-radius:6px;margin:0}
.card{padding:.6rem .9rem;overflow-x:auto;margin-bottom:.9rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:.9rem}
figure{overflow-x:auto;padding:.2rem}
figure svg{display:block;width:100%;height:auto;min-width:520px}
table{border-collapse:collapse;font-size:.92rem}
th,td{text-align:left;padding:.22rem .7rem .22rem 0;border-bottom:1px solid var(--edge);
vertical-align:top}
th{font-weight:bold;color:var(--soft)}
.long{overflow-wrap:anywhere;min-width:12em}
tr:last-child td{border-bottom:0}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{margin:0;font:13px/1.35 "DejaVu Sans Mono",Menlo,Consolas,monospace}
details summary{cursor:pointer;color:var(--strong);padding:.2rem 0}
.axes{border:0;margin:0 0 .8rem;padding:0;display:flex;flex-wrap:wrap;gap:.4rem;align-items:center}
.axis{position:absolute;opacity:0}
.axes label{border:1px solid var(--edge);border-radius:6px;padding:.25rem .8rem;cursor:pointer;
background:var(--paper)}
.by{display:none}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e3e6ea;--soft:#a3acb6;--paper:#14181d;--ground:#0c0f12;--edge:#333b44;
--strong:#6bb3f2}}
@media print{
@page{margin:12mm}
body{background:#fff;padding:0;font-size:11px;max-width:none}
.card,figure{border:0;padding:0;break-inside:avoid;overflow:visible}
.charts{grid-template-columns:1fr 1fr;gap:4mm}
figure svg{min-width:0}
h2{break-after:avoid}
.axes{display:none}
details>*{display:block}
}
)";

/// A path or a list is broken anywhere before it makes the table wider than the page; other words
/// stay whole.
bool has_long_word(std::string_view text) {
  constexpr std::size_t kLong = 24;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (end - at > kLong) return true;
    at = end + 1;
  }
  return false;
}

std::string_view class_of(const HtmlCell& cell) {
  if (cell.is_number) return " class=\"number\"";
  return has_long_word(cell.text) ? " class=\"long\"" : "";
}

}  // namespace

std::string html_table(const std::vector<std::string>& headings,
                       const std::vector<std::vector<HtmlCell>>& rows) {
  std::string html = "<div class=\"card\"><table>\n<thead><tr>";
  for (std::size_t i = 0; i < headings.size(); ++i)
    html += fmt::format("<th{}>{}</th>",
                        !rows.empty() && rows.front()[i].is_number ? " class=\"number\"" : "",
                        report::xml_escaped(headings[i]));
  html += "</tr></thead>\n<tbody>\n";
  for (const std::vector<HtmlCell>& row : rows) {
    html += "<tr>";
    for (const HtmlCell& cell : row)
      html += fmt::format("<td{}>{}</td>", class_of(cell), report::xml_escaped(cell.text));
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string html_figure(std::string_view svg) {
  return fmt::format("<figure>{}</figure>\n", svg);
}

std::string html_folded(std::string_view summary, std::string_view content) {
  return fmt::format("<details><summary>{}</summary>\n{}</details>\n", report::xml_escaped(summary),
                     content);
}

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      report::xml_escaped(title), kStyle, body);
}

}  // namespace espalier::runs
