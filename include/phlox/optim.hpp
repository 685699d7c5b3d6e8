// Optimisers, schedules of the learning rate, and limits on gradients.
#pragma once
#include "phlox/optim/optimizers.hpp"
#include "phlox/optim/schedulers.hpp"
