#include "ops/linalg_host.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace phlox {

using C = Matrix::C;

Matrix Matrix::identity(int64_t n) {
  Matrix m(n, n);
  for (int64_t i = 0; i < n; ++i) m(i, i) = 1;
  return m;
}
Matrix Matrix::adjoint() const {
  Matrix m(cols, rows);
  for (int64_t i = 0; i < rows; ++i) for (int64_t j = 0; j < cols; ++j) m(j, i) = std::conj((*this)(i, j));
  return m;
}
Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.cols);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t k = 0; k < a.cols; ++k)
      for (int64_t j = 0; j < b.cols; ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}
Matrix operator+(const Matrix& a, const Matrix& b) {
  Matrix c = a;
  for (size_t i = 0; i < c.data.size(); ++i) c.data[i] += b.data[i];
  return c;
}
Matrix operator*(const Matrix& a, double s) {
  Matrix c = a;
  for (C& x : c.data) x *= s;
  return c;
}

int32_t lu_factor(Matrix& a, std::vector<int32_t>& pivots) {
  const int64_t k = std::min(a.rows, a.cols);
  pivots.assign(size_t(k), 0);
  int32_t info = 0;
  for (int64_t j = 0; j < k; ++j) {
    int64_t p = j;
    auto size = [](C z) { return std::fabs(z.real()) + std::fabs(z.imag()); };  // as LAPACK chooses pivots
    for (int64_t i = j + 1; i < a.rows; ++i) if (size(a(i, j)) > size(a(p, j))) p = i;
    pivots[size_t(j)] = int32_t(p) + 1;
    if (a(p, j) == C(0)) {
      if (!info) info = int32_t(j) + 1;
      continue;
    }
    if (p != j) for (int64_t c = 0; c < a.cols; ++c) std::swap(a(p, c), a(j, c));
    for (int64_t i = j + 1; i < a.rows; ++i) {
      const C f = a(i, j) /= a(j, j);
      for (int64_t c = j + 1; c < a.cols; ++c) a(i, c) -= f * a(j, c);
    }
  }
  return info;
}

void solve_triangular(const Matrix& a, Matrix& b, bool upper, bool unit) {
  const int64_t n = a.rows;
  for (int64_t c = 0; c < b.cols; ++c)
    for (int64_t step = 0; step < n; ++step) {
      const int64_t i = upper ? n - 1 - step : step;
      C s = b(i, c);
      for (int64_t k = upper ? i + 1 : 0; k < (upper ? n : i); ++k) s -= a(i, k) * b(k, c);
      b(i, c) = unit ? s : s / a(i, i);
    }
}

int32_t solve(const Matrix& a, const Matrix& b, Matrix& x) {
  Matrix lu = a;
  std::vector<int32_t> pivots;
  const int32_t info = lu_factor(lu, pivots);
  x = b;
  for (size_t i = 0; i < pivots.size(); ++i)
    if (const int64_t p = pivots[i] - 1; p != int64_t(i)) for (int64_t c = 0; c < x.cols; ++c) std::swap(x(int64_t(i), c), x(p, c));
  solve_triangular(lu, x, false, true);
  solve_triangular(lu, x, true, false);
  return info;
}

int32_t cholesky(const Matrix& a, Matrix& l) {
  const int64_t n = a.rows;
  l = Matrix(n, n);
  for (int64_t j = 0; j < n; ++j) {
    double d = a(j, j).real();
    for (int64_t k = 0; k < j; ++k) d -= std::norm(l(j, k));
    if (!(d > 0)) return int32_t(j) + 1;
    l(j, j) = std::sqrt(d);
    for (int64_t i = j + 1; i < n; ++i) {
      C s = a(i, j);
      for (int64_t k = 0; k < j; ++k) s -= l(i, k) * std::conj(l(j, k));
      l(i, j) = s / l(j, j);
    }
  }
  return 0;
}

void householder_qr(Matrix& a, std::vector<C>& tau) {
  const int64_t k = std::min(a.rows, a.cols);
  tau.assign(size_t(k), 0);
  for (int64_t j = 0; j < k; ++j) {
    double below = 0;
    for (int64_t i = j + 1; i < a.rows; ++i) below += std::norm(a(i, j));
    const C alpha = a(j, j);
    if (below == 0 && alpha.imag() == 0) continue;
    const double beta = -std::copysign(std::sqrt(std::norm(alpha) + below), alpha.real());
    tau[size_t(j)] = C((beta - alpha.real()) / beta, -alpha.imag() / beta);
    const C scale = 1.0 / (alpha - beta);
    for (int64_t i = j + 1; i < a.rows; ++i) a(i, j) *= scale;
    a(j, j) = beta;
    for (int64_t c = j + 1; c < a.cols; ++c) {
      C s = a(j, c);
      for (int64_t i = j + 1; i < a.rows; ++i) s += std::conj(a(i, j)) * a(i, c);
      s *= std::conj(tau[size_t(j)]);
      a(j, c) -= s;
      for (int64_t i = j + 1; i < a.rows; ++i) a(i, c) -= a(i, j) * s;
    }
  }
}

Matrix householder_product(const Matrix& a, const std::vector<C>& tau, int64_t columns) {
  Matrix q(a.rows, columns);
  for (int64_t i = 0; i < std::min(a.rows, columns); ++i) q(i, i) = 1;
  for (int64_t j = int64_t(tau.size()) - 1; j >= 0; --j)
    for (int64_t c = 0; c < columns; ++c) {
      C s = q(j, c);
      for (int64_t i = j + 1; i < a.rows; ++i) s += std::conj(a(i, j)) * q(i, c);
      s *= tau[size_t(j)];
      q(j, c) -= s;
      for (int64_t i = j + 1; i < a.rows; ++i) q(i, c) -= a(i, j) * s;
    }
  return q;
}

// Jacobi's rotations until nothing off the diagonal counts.
void eigh(const Matrix& a, std::vector<double>& w, Matrix& v) {
  const int64_t n = a.rows;
  Matrix h(n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) { h(i, j) = i == j ? C(a(i, i).real()) : a(i, j); h(j, i) = std::conj(h(i, j)); }
  Matrix q = Matrix::identity(n);
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; ++i) for (int64_t j = 0; j < n; ++j) { all += std::norm(h(i, j)); if (i != j) off += std::norm(h(i, j)); }
    if (off <= 1e-34 * all || all == 0) break;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t r = p + 1; r < n; ++r) {
        const double size = std::abs(h(p, r));
        if (size == 0) continue;
        const C phase = h(p, r) / size;
        const double theta = (h(r, r).real() - h(p, p).real()) / (2 * size);
        const double t = std::copysign(1.0, theta) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        // Columns p and r become c p - s conj(phase) r and s phase p + c r.
        for (int64_t k = 0; k < n; ++k) {
          const C x = h(k, p), y = h(k, r);
          h(k, p) = c * x - s * std::conj(phase) * y;
          h(k, r) = s * phase * x + c * y;
          const C u = q(k, p), z = q(k, r);
          q(k, p) = c * u - s * std::conj(phase) * z;
          q(k, r) = s * phase * u + c * z;
        }
        for (int64_t k = 0; k < n; ++k) {
          const C x = h(p, k), y = h(r, k);
          h(p, k) = c * x - s * phase * y;
          h(r, k) = s * std::conj(phase) * x + c * y;
        }
      }
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return h(x, x).real() < h(y, y).real(); });
  w.resize(size_t(n));
  v = Matrix(n, n);
  for (int64_t j = 0; j < n; ++j) {
    w[size_t(j)] = h(order[size_t(j)], order[size_t(j)]).real();
    for (int64_t i = 0; i < n; ++i) v(i, j) = q(i, order[size_t(j)]);
  }
}

// Adds columns to an orthonormal set until there are `total`.
static void complete_basis(Matrix& q, int64_t have, int64_t total) {
  Matrix r(q.rows, total);
  for (int64_t i = 0; i < q.rows; ++i) for (int64_t j = 0; j < have; ++j) r(i, j) = q(i, j);
  for (int64_t e = 0; have < total && e < q.rows; ++e) {
    std::vector<C> x(static_cast<size_t>(q.rows));
    x[size_t(e)] = 1;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t j = 0; j < have; ++j) {
        C s = 0;
        for (int64_t i = 0; i < q.rows; ++i) s += std::conj(r(i, j)) * x[size_t(i)];
        for (int64_t i = 0; i < q.rows; ++i) x[size_t(i)] -= s * r(i, j);
      }
    double size = 0;
    for (C z : x) size += std::norm(z);
    size = std::sqrt(size);
    if (size < 1e-8) continue;
    for (int64_t i = 0; i < q.rows; ++i) r(i, have) = x[size_t(i)] / size;
    ++have;
  }
  q = r;
}

// One-sided Jacobi: rotations make the columns of A V orthogonal; their lengths are the singular values.
void svd(const Matrix& a, bool full, Matrix& u, std::vector<double>& s, Matrix& vh) {
  if (a.rows < a.cols) {
    Matrix v, uh;
    svd(a.adjoint(), full, v, s, uh);
    u = uh.adjoint();
    vh = v.adjoint();
    return;
  }
  const int64_t m = a.rows, n = a.cols;
  Matrix w = a, v = Matrix::identity(n);
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool rotated = false;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t r = p + 1; r < n; ++r) {
        double x = 0, y = 0;
        C z = 0;
        for (int64_t i = 0; i < m; ++i) { x += std::norm(w(i, p)); y += std::norm(w(i, r)); z += std::conj(w(i, p)) * w(i, r); }
        const double size = std::abs(z);
        if (size <= 1e-16 * std::sqrt(x * y) || size == 0) continue;
        rotated = true;
        const C phase = z / size;
        const double theta = (y - x) / (2 * size);
        const double t = std::copysign(1.0, theta) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), sn = t * c;
        for (Matrix* q : {&w, &v})
          for (int64_t i = 0; i < q->rows; ++i) {
            const C g = (*q)(i, p), h = (*q)(i, r);
            (*q)(i, p) = c * g - sn * std::conj(phase) * h;
            (*q)(i, r) = sn * phase * g + c * h;
          }
      }
    if (!rotated) break;
  }
  std::vector<double> length(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    double x = 0;
    for (int64_t i = 0; i < m; ++i) x += std::norm(w(i, j));
    length[size_t(j)] = std::sqrt(x);
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return length[size_t(x)] > length[size_t(y)]; });
  s.resize(size_t(n));
  u = Matrix(m, n);
  vh = Matrix(n, n);
  int64_t rank = 0;
  for (int64_t j = 0; j < n; ++j) {
    const int64_t from = order[size_t(j)];
    s[size_t(j)] = length[size_t(from)];
    for (int64_t i = 0; i < n; ++i) vh(j, i) = std::conj(v(i, from));
    if (s[size_t(j)] > 1e-300 && s[size_t(j)] > 1e-15 * s[0]) {
      for (int64_t i = 0; i < m; ++i) u(i, j) = w(i, from) / s[size_t(j)];
      rank = j + 1;
    }
  }
  const int64_t total = full ? m : n;
  if (rank < total) complete_basis(u, rank, total);
}

// Shifted QR steps on the Hessenberg form, then eigenvectors from the triangle.
void eig(const Matrix& a, std::vector<C>& w, Matrix& v) {
  const int64_t n = a.rows;
  Matrix h = a, q = Matrix::identity(n);
  auto rotate = [&](int64_t i, int64_t k, double c, C s, int64_t row_from) {  // rows i, k of h from the left; columns of h and q
    for (int64_t j = row_from; j < n; ++j) {
      const C x = h(i, j), y = h(k, j);
      h(i, j) = c * x + s * y;
      h(k, j) = -std::conj(s) * x + c * y;
    }
  };
  auto rotate_columns = [&](Matrix& m, int64_t i, int64_t k, double c, C s, int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) {
      const C x = m(r, i), y = m(r, k);
      m(r, i) = c * x + std::conj(s) * y;
      m(r, k) = -s * x + c * y;
    }
  };
  auto givens = [](C x, C y, double& c, C& s) {
    const double r = std::sqrt(std::norm(x) + std::norm(y));
    if (r == 0) { c = 1; s = 0; return; }
    if (std::abs(x) == 0) { c = 0; s = std::conj(y) / r; return; }
    c = std::abs(x) / r;
    s = x / std::abs(x) * std::conj(y) / r;
  };
  for (int64_t j = 0; j + 2 < n; ++j)
    for (int64_t i = n - 1; i > j + 1; --i) {
      if (h(i, j) == C(0)) continue;
      double c;
      C s;
      givens(h(i - 1, j), h(i, j), c, s);
      rotate(i - 1, i, c, s, 0);
      rotate_columns(h, i - 1, i, c, s, n);
      rotate_columns(q, i - 1, i, c, s, n);
      h(i, j) = 0;
    }
  int64_t top = n - 1;
  for (int64_t count = 0; top > 0 && count < 200 * n; ++count) {
    int64_t lo = top;
    while (lo > 0 && std::abs(h(lo, lo - 1)) > 1e-16 * (std::abs(h(lo, lo)) + std::abs(h(lo - 1, lo - 1)))) --lo;
    if (lo > 0) h(lo, lo - 1) = 0;
    if (lo == top) { --top; continue; }
    // Wilkinson's shift, now and then another one.
    const C x = h(top - 1, top - 1), y = h(top - 1, top), z = h(top, top - 1), t = h(top, top);
    const C half = (x + t) / 2.0, root = std::sqrt((x - t) * (x - t) / 4.0 + y * z);
    C shift = std::abs(half + root - t) < std::abs(half - root - t) ? half + root : half - root;
    if (count % 17 == 16) shift += std::abs(z);
    std::vector<std::pair<double, C>> turns;
    for (int64_t i = lo; i <= top; ++i) h(i, i) -= shift;
    for (int64_t i = lo; i < top; ++i) {
      double c;
      C s;
      givens(h(i, i), h(i + 1, i), c, s);
      rotate(i, i + 1, c, s, i);
      turns.emplace_back(c, s);
    }
    for (int64_t i = lo; i < top; ++i) {
      const auto& [c, s] = turns[size_t(i - lo)];
      rotate_columns(h, i, i + 1, c, s, std::min(i + 2, top) + 1);
      rotate_columns(q, i, i + 1, c, s, n);
    }
    for (int64_t i = lo; i <= top; ++i) h(i, i) += shift;
  }
  w.resize(size_t(n));
  Matrix x(n, n);
  for (int64_t j = 0; j < n; ++j) {
    w[size_t(j)] = h(j, j);
    x(j, j) = 1;
    for (int64_t i = j - 1; i >= 0; --i) {
      C s = 0;
      for (int64_t k = i + 1; k <= j; ++k) s += h(i, k) * x(k, j);
      C d = h(j, j) - h(i, i);
      if (std::abs(d) < 1e-300) d = 1e-300;
      x(i, j) = s / d;
    }
  }
  v = q * x;
  for (int64_t j = 0; j < n; ++j) {
    double size = 0;
    for (int64_t i = 0; i < n; ++i) size += std::norm(v(i, j));
    size = std::sqrt(size);
    // The largest element is real, as LAPACK turns them.
    int64_t largest = 0;
    for (int64_t i = 1; i < n; ++i) if (std::norm(v(i, j)) > std::norm(v(largest, j)) * (1 + 1e-12)) largest = i;
    const C turn = std::conj(v(largest, j)) / std::abs(v(largest, j)) / size;
    for (int64_t i = 0; i < n; ++i) v(i, j) *= turn;
    v(largest, j) = v(largest, j).real();
  }
}

// Scaled down to a norm below 1/2, a Taylor series, squared back.
Matrix matrix_exp(const Matrix& a) {
  double norm = 0;
  for (int64_t i = 0; i < a.rows; ++i) {
    double row = 0;
    for (int64_t j = 0; j < a.cols; ++j) row += std::abs(a(i, j));
    norm = std::max(norm, row);
  }
  int squarings = 0;
  while (std::isfinite(norm) && norm > 0.5) { norm /= 2; ++squarings; }
  const Matrix x = a * std::ldexp(1.0, -squarings);
  Matrix term = Matrix::identity(a.rows), sum = term;
  for (int k = 1; k < 20; ++k) {
    term = term * x * (1.0 / k);
    sum = sum + term;
  }
  for (int k = 0; k < squarings; ++k) sum = sum * sum;
  return sum;
}

}  // namespace phlox
