// Dense linear algebra on the host: simple, dependable algorithms in f64, the references of ops/op_linalg.cpp.
// Matrices are complex throughout; of real input every imaginary part stays 0.
#pragma once
#include <complex>
#include <cstdint>
#include <vector>

namespace phlox {

struct Matrix {
  using C = std::complex<double>;
  int64_t rows = 0, cols = 0;
  std::vector<C> data;  // row-major
  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), data(size_t(r * c)) {}
  C& operator()(int64_t i, int64_t j) { return data[size_t(i * cols + j)]; }
  const C& operator()(int64_t i, int64_t j) const { return data[size_t(i * cols + j)]; }
  static Matrix identity(int64_t n);
  Matrix adjoint() const;
};
Matrix operator*(const Matrix& a, const Matrix& b);
Matrix operator+(const Matrix& a, const Matrix& b);
Matrix operator*(const Matrix& a, double s);

// In place, with partial pivoting; pivots count from 1 as LAPACK's. Returns the first zero pivot, counted from 1, or 0.
int32_t lu_factor(Matrix& a, std::vector<int32_t>& pivots);
// X with A X = B by lu_factor; the same return.
int32_t solve(const Matrix& a, const Matrix& b, Matrix& x);
void solve_triangular(const Matrix& a, Matrix& b, bool upper, bool unit);
int32_t cholesky(const Matrix& a, Matrix& l);  // lower; the order of the first minor that is not positive, or 0
void householder_qr(Matrix& a, std::vector<Matrix::C>& tau);  // LAPACK's geqrf: R above, the reflectors below
Matrix householder_product(const Matrix& a, const std::vector<Matrix::C>& tau, int64_t columns);
void eigh(const Matrix& a, std::vector<double>& w, Matrix& v);  // ascending; of a Hermitian matrix given by its lower half
void svd(const Matrix& a, bool full, Matrix& u, std::vector<double>& s, Matrix& vh);  // descending
void eig(const Matrix& a, std::vector<Matrix::C>& w, Matrix& v);
Matrix matrix_exp(const Matrix& a);

}  // namespace phlox
