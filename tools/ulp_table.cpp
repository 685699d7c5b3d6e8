// Prints the measured errors of the scalar functions as the table of docs/numerics.md: largest error in units
// in the last place against MPFR on `samples` points a type, and for f32 over every `stride`-th number of
// all.
//
// usage: ulp_table [samples [stride [function]]]
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "math/functions.h"

int main(int argc, char** argv) {
  using namespace phlox::reference;
  uint64_t samples = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1 << 16;
  uint64_t stride = argc > 2 ? strtoull(argv[2], nullptr, 10) : 509;
  printf("| function | f32, sampled | f32, dense | f64, sampled | bar f32 / f64 |\n|---|---|---|---|---|\n");
  for (const Unary& u : unary_functions()) {
    if (argc > 3 && std::string_view(argv[3]) != u.name) continue;
    Measured a = measure<float>(u.f32, u, samples), b = measure<double>(u.f64, u, samples);
    printf("| %s | %.2f at %.9g | ", u.name, a.error, a.at);
    if (u.libm) {
      Measured c = measure_dense(u, stride);
      printf("%.3f at %.9g", c.error, c.at);
    } else {
      printf("-");
    }
    printf(" | %.2f at %.17g | %g / %g |\n", b.error, b.at, u.bar32, u.bar64);
    fflush(stdout);
  }
}
