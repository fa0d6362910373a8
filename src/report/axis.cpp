#include "report/axis.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>

namespace espalier::report {
namespace {

/// Beyond all that is of use; within them the steps of ticks neither overflow nor vanish.
constexpr double kLargest = 1e100;
constexpr double kSmallest = 1e-100;

/// mantissa * 10^exponent with mantissa 1, 2 or 5.
struct Step {
  int mantissa, exponent;
  double value() const { return times(1); }
  /// A multiple, with one rounding.
  double times(double k) const {
    const double power = std::pow(10.0, std::abs(exponent));
    return exponent >= 0 ? k * mantissa * power : k * mantissa / power;
  }
};

/// A share of a step by which a value may miss a multiple of it and still be that multiple.
constexpr double kNear = 1e-9;
double multiple_below(double value, const Step& step) {
  return std::floor(value / step.value() + kNear);
}
double multiple_above(double value, const Step& step) {
  return std::ceil(value / step.value() - kNear);
}

/// The smallest step of which at most `at_most` multiples lie in the range.
Step step_of(Range range, int at_most) {
  const double width = range.high - range.low;
  Step step{1, static_cast<int>(std::floor(std::log10(width / at_most))) - 1};
  while (multiple_below(range.high, step) - multiple_above(range.low, step) + 1 > at_most) {
    if (step.mantissa == 5)
      step = {1, step.exponent + 1};
    else
      step.mantissa = step.mantissa == 1 ? 2 : 5;
  }
  return step;
}

std::string superscript(int number) {
  constexpr std::string_view kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = number < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(number))) text += kDigits[c - '0'];
  return text;
}

struct Letter {
  double at_least, unit;
  std::string_view letter;
};
/// Up to 9999 numbers are short enough as they are.
constexpr Letter kLetters[] = {
    {1e12, 1e12, "T"}, {1e9, 1e9, "B"}, {1e6, 1e6, "M"}, {1e4, 1e3, "K"}};
constexpr double kLettersEnd = 1e15;
constexpr double kFixedBegin = 1e-3;

Letter letter_of(double magnitude) {
  for (const Letter& letter : kLetters)
    if (magnitude >= letter.at_least * (1.0 - kNear)) return letter;
  return {0.0, 1.0, ""};
}
bool needs_power(double magnitude) {
  return magnitude >= kLettersEnd * (1.0 - kNear) || magnitude < kFixedBegin * (1.0 - kNear);
}

/// "1.5" of 1.50, without touching "10".
std::string without_zeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string with_power(double value, int digits) {
  // Through the printed form, so that 9.999 becomes 10^1 and not 10 times 10^0.
  const std::string printed = fmt::format("{:.{}e}", value, digits - 1);
  const std::size_t e = printed.find('e');
  const std::string mantissa = without_zeros(printed.substr(0, e));
  const std::string power = "10" + superscript(std::stoi(printed.substr(e + 1)));
  if (mantissa == "1") return power;
  if (mantissa == "-1") return "-" + power;
  return mantissa + "×" + power;
}

std::vector<Tick> linear_ticks(Range range, int at_most) {
  const Step step = step_of(range, at_most);
  const double magnitude = std::max(std::abs(range.low), std::abs(range.high));
  // All numbers of an axis have the same unit, and the decimals that the step needs.
  const Letter letter = letter_of(magnitude);
  int exponent = static_cast<int>(std::lround(std::log10(letter.unit)));
  std::string unit(letter.letter);
  if (needs_power(magnitude)) {
    exponent = static_cast<int>(std::floor(std::log10(magnitude) + kNear));
    unit = "×10" + superscript(exponent);
  }
  const int decimals = std::clamp(exponent - step.exponent, 0, 12);
  const double power = Step{1, std::abs(exponent)}.value();
  std::vector<Tick> list;
  const double first = multiple_above(range.low, step);
  for (int i = 0; i < at_most && first + i <= multiple_below(range.high, step); ++i) {
    const double value = step.times(first + i) + 0.0;  // no -0
    const double shown = exponent < 0 ? value * power : value / power;
    list.push_back({value, value == 0.0 ? "0" : fmt::format("{:.{}f}{}", shown, decimals, unit)});
  }
  return list;
}

/// 1, 2 and 5 times powers of ten, or powers of 10^`apart`; between numbers that stand a decade
/// apart the other multiples of the power as marks.
std::vector<Tick> logarithmic_ticks(Range range, int apart, bool with_2_and_5) {
  const auto inside = [&](double value) {
    return value >= range.low * (1.0 - kNear) && value <= range.high * (1.0 + kNear);
  };
  std::vector<Tick> list;
  for (int e = static_cast<int>(std::floor(std::log10(range.low)));
       e <= static_cast<int>(std::ceil(std::log10(range.high))); ++e)
    for (int m = 1; m < 10; ++m) {
      const double value = Step{m, e}.value();
      if (!inside(value)) continue;
      const bool has_number = m == 1 ? e % apart == 0 : with_2_and_5 && (m == 2 || m == 5);
      if (has_number)
        list.push_back({value, short_number(value)});
      else if (apart == 1 || m == 1)
        list.push_back({value, ""});
    }
  return list;
}

int num_numbers(const std::vector<Tick>& list) {
  return static_cast<int>(std::count_if(list.begin(), list.end(),
                                        [](const Tick& tick) { return !tick.label.empty(); }));
}

}  // namespace

bool can_stand(double value, bool logarithmic) {
  return std::abs(value) < kLargest && (!logarithmic || value > kSmallest);
}

bool is_range(Range range, bool logarithmic) {
  return can_stand(range.low, logarithmic) && can_stand(range.high, logarithmic) &&
         range.high - range.low >
             std::max(kSmallest, std::max(std::abs(range.low), std::abs(range.high)) * kNear);
}

Range range_of(std::span<const double> values, bool logarithmic, bool exact) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values)
    if (can_stand(value, logarithmic)) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  if (low > high) return logarithmic ? Range{1.0, 10.0} : Range{0.0, 1.0};
  const bool is_single = !is_range({low, high}, logarithmic);
  if (logarithmic) {
    // Room is multiplied; of one value a factor of two.
    const double room = is_single ? 2.0 : exact ? 1.0 : std::pow(high / low, 0.03);
    return {low / room, high * room};
  }
  if (is_single) {
    const double room = std::abs(low) < kSmallest ? 1.0 : std::abs(low) * 0.05;
    low -= room;
    high += room;
  }
  if (exact) return {low, high};
  const Step step = step_of({low, high}, 10);
  return {step.times(multiple_below(low, step)), step.times(multiple_above(high, step))};
}

Scale::Scale(Range range, bool logarithmic, double begin, double end)
    : range_(range), logarithmic_(logarithmic), begin_(begin) {
  per_unit_ = (end - begin) / (along(range.high) - along(range.low));
}

double Scale::along(double value) const {
  return logarithmic_ ? std::log10(value) : value;
}

double Scale::operator()(double value) const {
  return begin_ + (along(value) - along(range_.low)) * per_unit_;
}

bool Scale::shows(double value) const {
  if (!can_stand(value, logarithmic_)) return false;
  const double near = kNear * (logarithmic_ ? 1.0 : range_.high - range_.low);
  return along(value) >= along(range_.low) - near && along(value) <= along(range_.high) + near;
}

std::vector<Tick> ticks(Range range, bool logarithmic, int at_most) {
  if (!logarithmic) return linear_ticks(range, at_most);
  std::vector<Tick> list = logarithmic_ticks(range, 1, true);
  if (num_numbers(list) < 3) return linear_ticks(range, at_most);
  for (int apart = 1; num_numbers(list) > at_most; ++apart)
    list = logarithmic_ticks(range, apart, false);
  return list;
}

std::vector<Tick> ticks_of_two(Range range, int at_most) {
  const int first = static_cast<int>(std::ceil(std::log2(range.low) - kNear));
  const int last = static_cast<int>(std::floor(std::log2(range.high) + kNear));
  const int apart = std::max(1, (last - first + at_most) / at_most);
  std::vector<Tick> list;
  for (int e = first; e <= last; ++e) {
    const double value = std::ldexp(1.0, e);
    // Whole as people know them: 16384 and not 16.4K.
    const bool is_whole = e >= 0 && e <= 20;
    list.push_back({value, (e - first) % apart != 0 ? ""
                           : is_whole               ? fmt::format("{:.0f}", value)
                                                    : short_number(value)});
  }
  return list;
}

std::string short_number(double value, int digits) {
  if (value == 0.0) return "0";
  if (!std::isfinite(value)) return fmt::format("{}", value);
  // As it is printed: 999,999 with three digits is a million. Whole numbers up to 9999 stay whole.
  const int at_least = std::abs(value) >= 1.0 && std::abs(value) < 1e4 ? 4 : 1;
  const double magnitude = std::abs(
      std::strtod(fmt::format("{:.{}e}", value, std::max(digits, at_least) - 1).c_str(), nullptr));
  if (needs_power(magnitude)) return with_power(value, digits);
  const Letter letter = letter_of(magnitude);
  const int decimals = std::max(
      0, digits - 1 - static_cast<int>(std::floor(std::log10(magnitude / letter.unit) + kNear)));
  return (value < 0.0 ? "-" : "") +
         without_zeros(fmt::format("{:.{}f}", std::abs(value) / letter.unit, decimals)) +
         std::string(letter.letter);
}

}  // namespace espalier::report
