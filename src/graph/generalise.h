// generalise: two graphs that a function gave at different sizes become one graph whose sizes are formulas of symbols.
//
// Every number that differs between the two is explained by the symbols: a multiple, a product of two, or a linear formula.
// Two samples do not prove a formula. So whoever uses the graph at further sizes traces there too and asks same_at, which
// is exact. Refuses graphs that differ in anything but sizes, with the node and the reason.
#pragma once
#include "graph/graph.h"

namespace phlox {

struct SymbolSample { int64_t a, b; };  // a symbol's value in the first and in the second graph, which differ

// Symbol i is Dim::symbol(i). Nothing and a reason where the graphs differ in more than formulas can say.
bool generalise(const Graph& a, const Graph& b, std::span<const SymbolSample> symbols, Graph& result, std::string& why);

// Whether the live part of `g` is the symbolic graph at these values of its symbols.
bool same_at(const Graph& symbolic, const Graph& g, std::span<const int64_t> symbols, std::string& why);

}  // namespace phlox
