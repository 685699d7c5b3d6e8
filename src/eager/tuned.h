// The database of measurements on disk: one small file a problem in the folder "tune" of the kernel cache, with its owner
// checks, checksums and limits (toolchain/disk_cache.h). A file that does not hold is removed and measured again.
#pragma once

namespace phlox {

void lend_tune_store();  // once, before the first native call

}  // namespace phlox
