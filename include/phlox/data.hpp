// Datasets and the loader that batches them. data/fashion_mnist.hpp, which needs zlib, is included on its
// own.
#pragma once
#include "phlox/data/dataset.hpp"
#include "phlox/data/loader.hpp"
