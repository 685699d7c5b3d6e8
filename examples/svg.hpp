// Curves as an SVG picture: one panel for each, with axes and ticks. No library.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace examples {

struct Curve {
  std::string title;
  std::vector<float> values;  // by step
};

// A round step that divides `range` into at most `n` parts.
inline double tick_step(double range, int n) {
  const double raw = range / n, unit = std::pow(10, std::floor(std::log10(raw)));
  for (double m : {1.0, 2.0, 5.0})
    if (raw <= m * unit) return m * unit;
  return 10 * unit;
}

inline std::string panel(const Curve& c, double left, double top, double width, double height) {
  std::string s;
  char line[300];
  auto add = [&](const char* pattern, auto... v) {
    std::snprintf(line, sizeof line, pattern, v...);
    s += line;
  };
  const double steps = std::max<double>(1, double(c.values.size()) - 1);
  const float high = c.values.empty() ? 1 : *std::max_element(c.values.begin(), c.values.end());
  const double top_value = std::max(1e-6, double(high)) * 1.05;
  auto x = [&](double step) { return left + width * step / steps; };
  auto y = [&](double v) { return top + height * (1 - v / top_value); };
  add("<text x='%.0f' y='%.0f' font-weight='bold'>%s</text>\n", left, top - 10, c.title.c_str());
  for (double v = 0, d = tick_step(top_value, 6); v <= top_value; v += d) {
    add("<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>", left, y(v), left + width, y(v));
    add("<text x='%.1f' y='%.1f' text-anchor='end'>%g</text>\n", left - 6, y(v) + 4,
        std::round(v * 1e6) / 1e6);
  }
  for (double v = 0, d = tick_step(steps, 6); v <= steps; v += d)
    add("<text x='%.1f' y='%.1f' text-anchor='middle'>%g</text>\n", x(v), top + height + 16, v);
  auto trace = [&](const std::vector<double>& values, const char* style) {
    s += "<polyline fill='none' " + std::string(style) + " points='";
    for (size_t i = 0; i < values.size(); ++i) add("%.1f,%.1f ", x(double(i)), y(values[i]));
    s += "'/>\n";
  };
  std::vector<double> raw(c.values.begin(), c.values.end()), smooth;
  double mean = raw.empty() ? 0 : raw[0];
  for (double v : raw) smooth.push_back(mean += 0.06 * (v - mean));
  trace(raw, "stroke='#9bbfe0' stroke-width='1'");
  trace(smooth, "stroke='#14508c' stroke-width='2'");
  return s;
}

inline void write_svg(const std::string& file, const std::vector<Curve>& curves) {
  const double width = 520, height = 300, margin = 60;
  std::string s =
      "<svg xmlns='http://www.w3.org/2000/svg' width='" +
      std::to_string(int((width + margin) * double(curves.size()) + margin / 2)) + "' height='" +
      std::to_string(int(height + 2 * margin)) +
      "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n";
  for (size_t i = 0; i < curves.size(); ++i)
    s += panel(curves[i], margin + double(i) * (width + margin), margin, width, height);
  s += "</svg>\n";
  FILE* f = std::fopen(file.c_str(), "w");
  if (!f || std::fwrite(s.data(), 1, s.size(), f) != s.size() || std::fclose(f) != 0)
    throw std::runtime_error(file + " cannot be written");
}

}  // namespace examples
