// The scalar functions of phlox, all families: include this one. See math_base.h for what a value must supply.
#pragma once
#include "loop/math_arc.h"
#include "loop/math_base.h"
#include "loop/math_bessel.h"
#include "loop/math_erf.h"
#include "loop/math_exp.h"
#include "loop/math_gamma.h"
#include "loop/math_hyper.h"
#include "loop/math_igamma.h"
#include "loop/math_log.h"
#include "loop/math_misc.h"
#include "loop/math_normal.h"
#include "loop/math_trig.h"
