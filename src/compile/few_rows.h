// Products of few rows on a GPU, for which providers have kernels that compute what follows on its way to memory.
#pragma once
#include "compile/provider_answers.h"
#include "graph/graph.h"

namespace phlox {

bool has_few_rows(const Node& n, const Graph& g);
// Such products with the maps that are the only ones to read them, one after another: as many as their kernels take. The last
// one's result is memory (`forced`), what lies before it is not; `with`: the product that a map is part of.
void join_few_rows(const Graph& g, ProviderAnswers& providers, std::vector<bool>& forced, std::vector<NodeId>& with);

}  // namespace phlox
