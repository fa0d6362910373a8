#pragma once
#include <span>
#include <string>
#include <vector>

namespace espalier::report {

struct Range {
  double low, high;  ///< low < high
};

/// Whether an axis has a place for the value: not for nan and what is beyond 1e100, nor, where it
/// is logarithmic, for less than 1e-100.
bool can_stand(double value, bool logarithmic);

/// The range that the values of an axis need: up to the next multiples of the ticks' step on a
/// linear axis, 3 % more at both ends on a logarithmic one; `exact`: from the least to the greatest
/// value. A single value has room around it. Values that cannot stand are left out; without any,
/// 0 to 1 or 1 to 10.
Range range_of(std::span<const double> values, bool logarithmic, bool exact = false);

/// Whether the range is wide enough to tell its ends apart.
bool is_range(Range range, bool logarithmic);

/// From the values of an axis to pixels.
class Scale {
 public:
  /// `begin`, `end`: pixels of the range's low and high end; an axis that points up has the
  /// greater one first.
  Scale(Range range, bool logarithmic, double begin, double end);
  double operator()(double value) const;  ///< of a value that can stand
  bool shows(double value) const;         ///< can stand and lies in the range
  bool logarithmic() const { return logarithmic_; }
  Range range() const { return range_; }

 private:
  double along(double value) const;
  Range range_;
  bool logarithmic_;
  double begin_, per_unit_;
};

struct Tick {
  double value;
  std::string label;  ///< empty: a mark without a number
};
/// Ticks within the range, ascending, at most `at_most` (>= 2) of them with a number. Linear:
/// multiples of 1, 2 or 5 times a power of ten. Logarithmic: 1, 2 and 5 times powers of ten where
/// there is room for all numbers, otherwise powers of ten, or of a hundred and so on; less than a
/// decade or so has the ticks of a linear axis.
std::vector<Tick> ticks(Range range, bool logarithmic, int at_most);
/// Powers of two within the range, ascending, at most `at_most` (>= 2) of them with a number.
std::vector<Tick> ticks_of_two(Range range, int at_most);

/// A number for people: at most `digits` significant digits, but whole numbers up to 9999 as they
/// are; from 10,000 on by letter, "81.7B", and with powers of ten where the letters end,
/// "1.36×10²¹", "3×10⁻⁴".
std::string short_number(double value, int digits = 3);

}  // namespace espalier::report
