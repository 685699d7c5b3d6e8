#!/usr/bin/env bash
# The full set of golden cases, from PHLOX_GOLDENS or ../shared/goldens beside the repository; skipped where it is absent.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
main=$(cd "$(git -C "$root" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || echo "$root/.git")/.." && pwd)
for folder in ${PHLOX_GOLDENS:-} "$root/../shared/goldens" "$main/../shared/goldens"; do
  [ -e "$folder/visible-float32.jsonl" ] || continue
  "$1" "$folder" --floor "$(cat "$root/tests/goldens/floor.txt")" | tail -40
  exit "${PIPESTATUS[0]}"
done
exit 77
