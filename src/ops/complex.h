// Complex numbers. A complex tensor is a value like any other while a graph is built and differentiated; loops know only
// real numbers. lower_complex turns every complex value into two real ones; what lies in memory are (re, im) pairs.
//
// Gradients are conjugate ones, as PyTorch's: the gradient of a real function with respect to x + iy is d/dx + i d/dy.
#pragma once
#include "graph/graph.h"
#include "ops/registry.h"

namespace phlox {

OpFamily complex_family();

Val conj(Val a);                  // of real values: themselves
Val real_part(Val a);             // of real values: themselves
Val imag_part(Val a);             // complex only
Val make_complex(Val re, Val im); // of one float dtype and shape
Val as_pairs(Val a);              // complex[S] -> real[S, 2]
Val from_pairs(Val a);            // real[S, 2] -> complex[S]
Val abs2(Val a);                  // |a|^2, real
Val abs_of(Val a);                // |a|, real

// Of a decomposed graph. A complex input of shape S becomes a real one of shape [S, 2] in the same memory, likewise the
// outputs. Throws Error(not_implemented) for ops that have no complex meaning here.
Graph lower_complex(const Graph& g);
bool has_complex(const Graph& g);

}  // namespace phlox
