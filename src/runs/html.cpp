#include "runs/html.hpp"

#include <fmt/format.h>

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
vertical-align:top;overflow-wrap:anywhere;min-width:3.2em}
th{font-weight:bold;color:var(--soft);overflow-wrap:normal}
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

}  // namespace

std::string html_table(const std::vector<std::string>& headings,
                       const std::vector<std::vector<HtmlCell>>& rows) {
  const auto classes = [](bool number) { return number ? " class=\"number\"" : ""; };
  std::string html = "<div class=\"card\"><table>\n<thead><tr>";
  for (std::size_t i = 0; i < headings.size(); ++i)
    html += fmt::format("<th{}>{}</th>", classes(!rows.empty() && rows.front()[i].is_number),
                        report::xml_escaped(headings[i]));
  html += "</tr></thead>\n<tbody>\n";
  for (const std::vector<HtmlCell>& row : rows) {
    html += "<tr>";
    for (const HtmlCell& cell : row)
      html += fmt::format("<td{}>{}</td>", classes(cell.is_number), report::xml_escaped(cell.text));
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
