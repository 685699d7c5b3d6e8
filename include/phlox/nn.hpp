// Modules, layers, losses, their functions and first values. nn/module.hpp says how to write a model.
#pragma once
#include "phlox/nn/attention.hpp"
#include "phlox/nn/containers.hpp"
#include "phlox/nn/conv.hpp"
#include "phlox/nn/functional.hpp"
#include "phlox/nn/init.hpp"
#include "phlox/nn/layers.hpp"
#include "phlox/nn/loss.hpp"
#include "phlox/nn/module.hpp"
#include "phlox/nn/norm.hpp"
